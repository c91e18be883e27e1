// Package tlsdial opens TLS connections across networks that drop a large first packet.
//
// Go offers the post-quantum key exchange X25519MLKEM768, whose share makes the ClientHello 1.5 kB
// long instead of 250 bytes. It then fills more than one packet on many links, and some middleboxes
// drop it without a word. When a server stays silent, this package tries again without that key
// exchange, and remembers for the life of the process which hosts need it.
//
// It does not choose what to trust, and knows no proxies: the caller opens the TCP connections.
package tlsdial
