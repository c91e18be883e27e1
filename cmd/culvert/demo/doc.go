// Package demo shows Culvert's main job on one machine, without AWS. The sandbox stands for AWS IoT in
// this process and the real culvertd runs beside it. The demo opens a tunnel, moves bytes and checks
// them, rotates a token, cuts the network, and reports what it measured.
//
// It knows nothing of the agent's internals: it sees culvertd's log and status, as an operator does.
package demo
