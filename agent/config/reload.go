package config

// RestartNeeded names the keys that differ in next and that a running daemon cannot take over: all but
// the services, the hooks, the log level, and the tunnel's max_tunnels, regions, idle_timeout and connect_timeout.
// The contents of certificate files do not count: they are read at each connection.
func (c *Config) RestartNeeded(next *Config) []string {
	var keys []string
	changed := func(key string, is bool) {
		if is {
			keys = append(keys, key)
		}
	}
	changed("thing_name", c.ThingName != next.ThingName)
	m, n := c.MQTT, next.MQTT
	changed("mqtt.enabled", m.Disabled != n.Disabled)
	changed("mqtt.endpoint", m.Endpoint != n.Endpoint || m.Port != n.Port)
	changed("mqtt.client_id", m.ClientID != n.ClientID)
	changed("mqtt.ca_file", m.CAFile != n.CAFile)
	changed("mqtt.cert_file", m.CertFile != n.CertFile)
	changed("mqtt.key_file", m.KeyFile != n.KeyFile || m.TPMKey != n.TPMKey)
	changed("mqtt.username", m.Username != n.Username)
	changed("mqtt.password_file", m.PasswordFile != n.PasswordFile)
	changed("mqtt.authorizer", m.Authorizer != n.Authorizer)
	changed("mqtt.authorizer_token_file", m.TokenFile != n.TokenFile)
	changed("mqtt.keep_alive", m.KeepAlive != n.KeepAlive)
	changed("mqtt.persistent_session", m.PersistentSession != n.PersistentSession)
	changed("mqtt.answer_pings", m.AnswerPings != n.AnswerPings)
	changed("tunnel.endpoint", c.Tunnel.Endpoint != next.Tunnel.Endpoint)
	changed("tunnel.ca_file", c.Tunnel.CAFile != next.Tunnel.CAFile)
	changed("tunnel.state_dir", c.Tunnel.StateDir != next.Tunnel.StateDir)
	changed("tunnel.resume_timeout", c.Tunnel.ResumeTimeout != next.Tunnel.ResumeTimeout)
	changed("log.format", c.Log.Format != next.Log.Format)
	changed("control.socket", c.Control.Socket != next.Control.Socket)
	changed("control.group", c.Control.Group != next.Control.Group)
	changed("metrics.listen", c.Metrics.Listen != next.Metrics.Listen)
	return keys
}
