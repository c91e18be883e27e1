// Package registry is the sandbox's part of AWS IoT's control plane that sets devices up: things,
// policies, certificates from signing requests, attachments, and the account's data endpoint. It also
// answers STS's GetCallerIdentity and IAM's policy simulator. The broker asks it what a certificate may do.
//
// It knows no tunnels and no MQTT. Like the sandbox's other APIs it checks a signature's form and never
// whose it is.
package registry
