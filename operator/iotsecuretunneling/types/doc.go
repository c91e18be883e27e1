// Package types holds the values that AWS IoT Secure Tunneling's operations take and return, under the names that the
// AWS SDK for Go gives them.
//
// It knows nothing of requests.
package types
