package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/fleet"
	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/operator/presence"
	"github.com/culvert-iot/culvert/services"
)

// inventoryOptions are the flags of inventory.
type inventoryOptions struct {
	reachOptions
	selection

	service, user, host string
	list, online        bool
}

func newInventoryCommand() *cobra.Command {
	var o inventoryOptions
	cmd := &cobra.Command{
		Use:   "inventory [flags] [NAME ...]",
		Short: "List devices as an inventory for Ansible",
		Long: "Prints things as Ansible's dynamic inventory, with the variables that let Ansible reach them through " +
			"tunnels. Ansible runs a script with --list; let the script run this.\n\n" +
			"The other options given here end up in the variables, and what the environment says of profile, region and " +
			"endpoints.",
		Example: "  culvert inventory 'pi-*' --online\n" +
			"  cat things           # a script: exec culvert inventory --user admin \"$@\"\n" +
			"  ansible -i things all -m ping",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !services.ValidName(o.service) {
				return usagef(cmd, "--service %q: a service's name has 1 to 128 of a-z, A-Z, 0-9, :, _ and -", o.service)
			}
			filter, err := o.filter(args)
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			return o.run(cmd, filter)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.list, "list", false, "print all of them, as without this flag")
	f.StringVar(&o.host, "host", "", "print the variables of the thing with this `name` alone")
	o.selection.register(f)
	f.BoolVar(&o.online, "online", false, "only things that are connected")
	f.StringVar(&o.user, "user", "", "`name` of the user on the devices")
	f.StringVar(&o.service, "service", defaultService, "`name` of the tunnel's service that is ssh")
	o.share.register(f)
	o.reachOptions.register(f)
	reachHelp(cmd)
	cmd.ValidArgsFunction = completeThings(0)
	return cmd
}

// inventory is what Ansible reads from an inventory script.
type inventory struct {
	All struct {
		Hosts []string `json:"hosts"`
	} `json:"all"`
	Meta struct {
		HostVars map[string]map[string]string `json:"hostvars"` // given, so that it does not ask for each host
	} `json:"_meta"`
}

func (o *inventoryOptions) run(cmd *cobra.Command, filter fleet.Filter) error {
	words, err := o.connectWords(cmd)
	if err != nil {
		return err
	}
	out := json.NewEncoder(cmd.OutOrStdout())
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	if o.host != "" {
		return out.Encode(o.vars(words, o.host))
	}
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	cfg, err := operator.LoadConfig(ctx, o.aws.options(cmd.ErrOrStderr()))
	if err != nil {
		return lsError(err)
	}
	cfg = operator.ForMany(cfg, sayThrottled(cmd.ErrOrStderr()))
	var all inventory
	all.All.Hosts, all.Meta.HostVars = []string{}, map[string]map[string]string{}
	looking := existing(presence.New(cfg), connect.FromAWS(cfg), filter.Names)
	for names, err := range fleet.Things(ctx, cfg, filter) {
		if e, ok := errors.AsType[*fleet.AbsentError](err); ok && len(e.Names) == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "culvert:", e)
			break
		}
		if err != nil {
			return lsError(err)
		}
		if o.online {
			things := fleet.Look(ctx, looking, names)
			names = nil
			for _, t := range things {
				if t.Err != nil {
					return lsError(t.Err)
				}
				if t.State.Connected {
					names = append(names, t.Name)
				}
			}
		}
		for _, name := range names {
			if services.ValidName(name) {
				all.All.Hosts = append(all.All.Hosts, name)
				all.Meta.HostVars[name] = o.vars(words, name)
			}
		}
	}
	return out.Encode(all)
}

// connectWords are those of the ProxyCommand.
func (o *inventoryOptions) connectWords(cmd *cobra.Command) ([]string, error) {
	words, err := connectWords(cmd.Flags())
	if err != nil {
		return nil, err
	}
	return append(words, fromEnvironment(cmd.Flags(), os.LookupEnv)...), nil
}

// vars let Ansible's ssh reach a thing.
func (o *inventoryOptions) vars(words []string, thing string) map[string]string {
	v := map[string]string{
		"ansible_host": thing,
		"ansible_ssh_common_args": "-o " + openssh.Quote("ProxyCommand="+openssh.ProxyCommand(words, thing, o.service)) +
			" -o " + openssh.Quote("HostKeyAlias="+thing) + " -o Compression=yes",
	}
	if o.user != "" {
		v["ansible_user"] = o.user
	}
	return v
}
