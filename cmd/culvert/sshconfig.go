package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/services"
)

// sshConfigSharing says how many tunnels the programs that use the blocks need.
var sshConfigSharing = func() string {
	if !holder.Supported {
		return "Nothing is shared on this system: each connection uses a tunnel of its own, unless --share lets ssh share one."
	}
	return "The connections of all these programs to a thing share one tunnel, which a background process holds until " +
		"--persist after the last one; with --no-share each has a tunnel of its own."
}()

func newSSHConfigCommand() *cobra.Command {
	var o reachOptions
	var service, user string
	var share bool
	cmd := &cobra.Command{
		Use:   "ssh-config [flags] THING ...",
		Short: "Let ssh, scp, rsync and git know devices by name",
		Long: "Prints a Host block for each thing, to be put into ~/.ssh/config or a file that it " +
			"includes. With it ssh, scp, sftp, rsync, git, Ansible and editors reach the thing by its " +
			"name. A pattern with * or ? makes one block for all things whose names it fits.\n\n" +
			"The other options given here end up in the block, and what the environment says of profile, " +
			"region and endpoints, for programs that are started without it. " + sshConfigSharing,
		Example: "  culvert ssh-config pi-1 pi-2 >> ~/.ssh/config\n" +
			"  culvert ssh-config --share --user admin 'pi-*' > ~/.ssh/config.d/culvert",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "which thing?")
			}
			if !services.ValidName(service) {
				return usagef(cmd, "--service %q: a service's name has 1 to 128 of a-z, A-Z, 0-9, :, _ and -", service)
			}
			if strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r == '"' }) {
				return usagef(cmd, "--user %q: no user has such a name", user)
			}
			words, err := connectWords(cmd.Flags())
			if err != nil {
				return err
			}
			words = append(words, fromEnvironment(cmd.Flags(), os.LookupEnv)...)
			if os.Getenv("AWS_ACCESS_KEY_ID") != "" && o.aws.Profile == "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "culvert: the credentials are in this shell's environment, which the block cannot hold: programs that are "+
					"started elsewhere need a --profile")
			}
			var b strings.Builder
			for i, thing := range args {
				if i > 0 {
					b.WriteString("\n")
				}
				pattern := strings.ContainsAny(thing, "*?")
				if name := strings.NewReplacer("*", "x", "?", "x").Replace(thing); !services.ValidName(name) || strings.HasPrefix(name, "-") {
					return usagef(cmd, "%q cannot be the name of a thing: 1 to 128 of a-z, A-Z, 0-9, :, _ and - are allowed", thing)
				}
				target := thing
				if pattern {
					target = "%n" // what was typed
				}
				fmt.Fprintf(&b, "Host %s\n", thing)
				if !pattern { // a pattern's host is known by what was typed in any case
					fmt.Fprintf(&b, "    HostKeyAlias %s\n", thing)
				}
				if user != "" {
					fmt.Fprintf(&b, "    User %s\n", user)
				}
				fmt.Fprintf(&b, "    ProxyCommand %s\n", openssh.ProxyCommand(words, target, service))
				b.WriteString("    Compression yes\n")
				if share {
					b.WriteString("    ControlMaster auto\n    ControlPath ~/.ssh/culvert-%C\n    ControlPersist 60\n")
				}
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), b.String())
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&service, "service", defaultService, "`name` of the tunnel's service that is ssh")
	f.StringVar(&user, "user", "", "`name` to log in as")
	f.BoolVar(&share, "share", false, "let ssh share one connection to a thing as well (ControlMaster), which saves logins")
	o.share.register(f)
	o.register(f)
	reachHelp(cmd)
	cmd.ValidArgsFunction = completeThings(0)
	return cmd
}

// environmentFlags are the flags that stand for variables, by the order of the variables' precedence.
var environmentFlags = []struct {
	flag      string
	variables []string
}{
	{"profile", []string{"AWS_PROFILE"}},
	{"region", []string{"AWS_REGION", "AWS_DEFAULT_REGION"}},
	{"endpoint-url", []string{"AWS_ENDPOINT_URL_IOTSECURETUNNELING", "AWS_ENDPOINT_URL"}},
	{"ca-bundle", []string{"AWS_CA_BUNDLE"}},
	{"data-endpoint", []string{dataEndpointVariable}},
}

// fromEnvironment returns the flags that say what the environment says and no given flag does.
func fromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) (words []string) {
	for _, e := range environmentFlags {
		if flags.Changed(e.flag) {
			continue
		}
		for _, name := range e.variables {
			if value, ok := lookup(name); ok && value != "" {
				words = append(words, connectWord(e.flag, value))
				break
			}
		}
	}
	return words
}
