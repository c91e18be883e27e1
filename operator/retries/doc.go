// Package retries repeats calls to AWS as the SDK's clients do, for the clients of this module.
//
// It knows no service and sends nothing.
package retries
