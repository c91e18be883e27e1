// Package accept takes connections from a listener through temporary errors, such as a lack of file
// descriptors.
//
// It knows nothing of what the connections carry.
package accept
