// Package transfer copies files and directories between this machine and another one by SFTP, so that an interrupted copy
// goes on and both ends have the same SHA-256 at the end.
//
//	Parse     pi-1:/var/log, ./dir             -> Location
//	Expand    remote patterns                  -> paths
//	Plan      sources and a destination        -> Items, each with its place at the target
//	Copier    Items, a Session                 -> Results
//
// A file is written under a temporary name beside its place ([PartialName]) and takes its name when it is complete, has been
// verified, and has its mode and times. A later run verifies by hash what a partial file already holds and continues behind it.
// A file that is there already with the same content is left as it is.
//
// The package does not know how the other machine is reached: it gets a [Dialer], which gives it an SFTP session and,
// if there is one, a shell that hashes.
package transfer
