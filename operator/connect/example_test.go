package connect_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/sandbox"
)

// A connection to a service of a thing, whatever it takes. The sandbox stands in for AWS here; see ExampleFromAWS for
// the real one.
func ExampleDial() {
	cloud, err := startCloud(sandbox.Config{}, culvertDevice(func(c net.Conn) { fmt.Fprintln(c, "SSH-2.0-hello") }))
	if err != nil {
		log.Fatal(err)
	}
	defer cloud.close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := connect.Dial(ctx, cloud.config(), "pi-1", "SSH")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close() // closes the tunnel, too

	banner, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(conn.RemoteAddr(), " says ", banner)
	// Output: pi-1/SSH says SSH-2.0-hello
}

// Several connections over one tunnel, with the profile and the region of the environment.
func ExampleFromAWS() {
	ctx := context.Background()
	loaded, err := operator.LoadConfig(ctx, operator.Options{})
	if err != nil {
		log.Fatal(operator.Explain(err))
	}
	cfg := connect.FromAWS(loaded)
	cfg.Progress = func(e connect.Event) { log.Print(e.Text) }
	tunnel, err := connect.Open(ctx, cfg, "pi-1", "SSH", "HTTP")
	if err != nil {
		log.Fatal(err)
	}
	defer tunnel.Close()
	for _, service := range []string{"SSH", "HTTP"} {
		conn, err := tunnel.Dial(ctx, service)
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
	}
}
