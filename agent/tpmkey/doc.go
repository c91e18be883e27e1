// Package tpmkey signs with a private key that never leaves a TPM 2.0: one that was made persistent in it, under a handle.
//
// It knows no TLS beyond the signatures that a handshake asks for. Of go-tpm it uses the older of two interfaces, whose
// commands are functions: the newer one encodes all of TPM 2.0 by reflection, which is too large for a small device.
package tpmkey
