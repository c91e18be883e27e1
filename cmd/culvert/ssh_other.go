//go:build !unix

package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/signal"

	"github.com/spf13/cobra"
)

// runInstead runs another program on this one's standard streams. Interrupts are that program's business.
func runInstead(path string, argv []string) error {
	signal.Ignore(os.Interrupt)
	cmd := exec.Command(path, argv[1:]...) //nolint:noctx // it ends by itself
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, ownStderr
	return cmd.Run()
}

// openOwn does nothing here: ssh itself runs culvert connect as its ProxyCommand.
func openOwn([]string, string, string) ([]string, error) { return nil, nil }

func awaitSSH(context.Context) (net.Conn, error) {
	return nil, errors.New("--handover is not for this system")
}

func newHandoverCommand() *cobra.Command {
	return &cobra.Command{Use: "handover", Hidden: true, RunE: func(*cobra.Command, []string) error { return errors.ErrUnsupported }}
}
