// Package connect reaches a service of a thing: it finds an open tunnel or opens one, rotates its tokens, waits
// until the device is there, and carries connections over it, across lost links and spent tokens.
//
//	ListTunnels, DescribeTunnel -> a free tunnel that fits -> RotateTunnelAccessToken (both sides)
//	                            -> none                    -> OpenTunnel
//	DescribeTunnel, repeatedly  -> the device is connected
//	proxy.Source                -> connections; when it ends: the same tokens again, or
//	                               RotateTunnelAccessToken (source)
//
// Opening a tunnel is charged and reusing one is not, so an open tunnel comes first. A tunnel whose source is
// connected is another operator's session and is left alone, unless [Config].TakeOver says otherwise. So is a
// young tunnel whose token has not been used yet.
//
// The package knows no command line, no terminal and no ssh: [Config].Progress gets what happens.
package connect
