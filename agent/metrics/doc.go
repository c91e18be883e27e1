// Package metrics serves a daemon's metrics to a monitoring system: GET over HTTP/1.1 on this machine's
// loopback or on a unix socket, one request a connection.
//
// It answers with what its handler returns and does not know what the metrics mean. It is written by hand
// because the server of net/http would add 0.56 MB to a daemon of 8 MB. What it reads is bounded in size and
// time, and clients that send nothing make room for others: any program of the machine can connect.
package metrics
