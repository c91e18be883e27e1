// Package doctor finds out why a thing cannot be reached: it asks AWS for everything that lies between an operator and a
// device, and says for each item whether it is in order and what to do if not. It is the operator's twin of
// "culvertd check", and changes nothing.
//
// It prints nothing, and it opens no tunnel.
package doctor
