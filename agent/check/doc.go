// Package check tries everything that a tunnel needs, as the daemon would, and says what to fix: the
// configuration's files, the running daemon, local services, the MQTT broker, the tunnel's data
// endpoint, the clock.
//
// It changes nothing. It spends no access token, acknowledges no notification, and never connects to
// the broker under the client id of a running daemon. Results go to the caller one after the other;
// [Result.Write] formats one as text.
package check
