package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/fleet"
)

// completeThings lets a shell complete up to most of a command's arguments with names of things; 0 is no limit.
// Arguments behind "--" belong to another command.
func completeThings(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if slices.Contains(os.Args, "--") { // the library removes it from args and appends one of its own
			return nil, cobra.ShellCompDirectiveDefault
		}
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return thingsFor(cmd, args, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeThingFlags does the same for the values of a command's flags.
func completeThingFlags(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if cmd.Flags().Lookup(name) == nil {
			continue
		}
		_ = cmd.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return thingsFor(cmd, nil, begun), cobra.ShellCompDirectiveNoFileComp
		}) // the flag exists
	}
}

// completePlaces completes what cp copies from or to. A shell shows either words or files: things come where no file
// of the working directory begins alike.
func completePlaces(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	files, _ := os.ReadDir(".") // none are as good
	if begun == "" || strings.ContainsAny(begun, "/:") || slices.ContainsFunc(files, func(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), begun) }) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	words := thingsFor(cmd, nil, begun)
	if len(words) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	for i := range words {
		words[i] += ":"
	}
	return words, cobra.ShellCompDirectiveNoSpace
}

// thingsFor returns the names that begin with the typed text, except those already on the command line. It keeps a
// user's name before an @.
func thingsFor(cmd *cobra.Command, but []string, begun string) (words []string) {
	user, prefix := "", begun
	if i := strings.LastIndex(begun, "@"); i >= 0 {
		user, prefix = begun[:i+1], begun[i+1:]
	}
	flag := func(name string) string {
		if f := cmd.Flags().Lookup(name); f != nil {
			return f.Value.String()
		}
		return ""
	}
	options := operator.Options{
		Profile: flag("profile"), Region: flag("region"), EndpointURL: flag("endpoint-url"), CABundle: flag("ca-bundle"),
		NoVerifySSL: flag("no-verify-ssl") == "true", NoSignRequest: flag("no-sign-request") == "true",
	}
	key := []string{options.Profile, options.Region, options.EndpointURL}
	for _, name := range []string{
		"HOME", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_IOT",
		"AWS_ACCESS_KEY_ID", "AWS_ROLE_ARN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
	} {
		key = append(key, os.Getenv(name))
	}
	names := fleet.NewKnown(key...).Names(cmd.Context(), func(ctx context.Context) (aws.Config, error) {
		return operator.LoadConfig(ctx, options)
	})
	for _, n := range names {
		if strings.HasPrefix(n, prefix) && !slices.Contains(but, n) {
			words = append(words, user+n)
		}
	}
	return words
}
