// Command culvert is the operator's end of AWS IoT Secure Tunneling, and the place to try it without an account:
// "culvert --help" lists what it does.
package main
