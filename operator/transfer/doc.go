// Package transfer copies files and directories between this machine and another one by SFTP, so that an interrupted
// copy can continue and both ends have the same SHA-256 at the end.
//
//	Parse     pi-1:/var/log, ./dir             -> Location
//	Expand    remote patterns                  -> paths
//	Plan      sources and a destination        -> Items, each with its place at the target
//	Copier    Items, a Session                 -> Results
//
// The copier writes a file under a temporary name beside its place ([PartialName]), and renames it when it is complete
// and verified and has its mode and times. A later run verifies a partial file by hash and continues behind it. The
// copier leaves a file alone that has the same content already.
//
// The package does not know how to reach the other machine: it gets a [Session] of SFTP and, if there is one, a shell
// that hashes.
package transfer
