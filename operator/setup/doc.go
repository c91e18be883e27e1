// Package setup registers a device with AWS IoT: a thing, a policy that allows only what tunnels need, and a certificate.
// The private key is made on this machine and leaves it only in the bundle for the device.
//
// [NewPlan] only reads. [Plan.Apply] makes what is missing, once: after a failure it can be called again. The package does
// not know how a device uses the bundle, except for the names of the files in it.
package setup
