// Package types holds the values that AWS IoT Secure Tunneling's operations take and return, with the names of the AWS
// SDK for Go.
//
// It knows nothing of requests.
package types
