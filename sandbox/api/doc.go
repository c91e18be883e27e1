// Package api is the sandbox's control API: the eight operations of AWS IoT Secure Tunneling in the AWS
// JSON 1.1 protocol, for the AWS CLI and every SDK as they are.
//
// It knows no websockets and no MQTT: package tunnels does what an operation asks for. It checks the form
// of a request as strictly as the API model does. It does not verify signatures or look at who signed.
package api
