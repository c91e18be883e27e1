// Package services maps the names of tunnel services to local targets and dials them: it parses target
// addresses, limits the connections of a service and ends those that are idle.
//
// It knows nothing of tunnels, of MQTT, of configuration files or of who asks for a connection.
package services
