// Package connect reaches a service of a thing: it finds an open tunnel or opens one, rotates its tokens, waits until
// the device is there, and carries connections over it, across lost links and spent tokens.
//
//	ListTunnels, DescribeTunnel -> a tunnel that fits and that nobody uses -> RotateTunnelAccessToken (both sides)
//	                            -> none                                    -> OpenTunnel
//	DescribeTunnel, again and again -> the device is connected
//	proxy.Source                    -> connections; when it ends: the same tokens again, or RotateTunnelAccessToken (source)
//
// Reusing a tunnel costs nothing and opening one is charged, so an open tunnel comes first. A tunnel whose source is
// connected is somebody's live session and is left alone, unless Config.TakeOver says otherwise.
//
// It knows no command line and no terminal: what happens is told to Config.Progress. It knows nothing of ssh either.
package connect
