package awscli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli/output"
	"github.com/culvert-iot/culvert/internal/hint"
)

// tokenFile is a file for tokens. It is written beside its place and moved there when it is complete.
type tokenFile struct {
	path string
	f    *os.File
}

// openTokenFile creates the file before the call: the service returns tokens once, so there must be a place for them.
// It returns nil without --token-file.
func (r *run) openTokenFile() (*tokenFile, error) {
	if !r.tokens || !r.cmd.Flags().Changed("token-file") {
		return nil, nil
	}
	if r.tokenFile == "" {
		return nil, usagef("--token-file needs a name")
	}
	if r.tokenFile == "-" {
		return nil, usagef("--token-file takes the name of a file: without it the tokens are printed, and ./- is a file of that name")
	}
	if info, err := os.Stat(r.tokenFile); err == nil && !info.Mode().IsRegular() {
		return nil, usagef("--token-file %s: it is not a regular file", r.tokenFile)
	}
	f, err := os.CreateTemp(filepath.Dir(r.tokenFile), ".culvert-tokens-*") // mode 0600
	if err != nil {
		return nil, &Error{exitOther, hint.Wrap(fmt.Errorf("Cannot write the token file: %w", err), "give --token-file a name in a directory that you can write to")} //nolint:staticcheck // as the AWS CLI writes its errors
	}
	return &tokenFile{r.tokenFile, f}, nil
}

// keep moves the tokens of a result into the file, beside what identifies the tunnel, and returns the rest.
func (t *tokenFile) keep(result output.Object, region string) (rest output.Object, err error) {
	content := append(output.Object{{Name: "region", Value: region}}, result...)
	rest = slices.DeleteFunc(result, func(m output.Member) bool { return strings.HasSuffix(m.Name, "AccessToken") })
	err = output.Printer{Form: "json"}.Print(t.f, content)
	if err == nil {
		err = t.f.Sync()
	}
	if closeErr := t.f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(t.f.Name(), t.path)
	}
	if err != nil {
		err = &Error{exitOther, hint.Wrap(
			fmt.Errorf("Cannot write the token file %s, and the tokens are lost: %w", t.path, err), //nolint:staticcheck // likewise
			"make new ones: culvert rotate-tunnel-access-token")}
	}
	return rest, err
}

// drop removes a file that was not kept.
func (t *tokenFile) drop() {
	if t == nil {
		return
	}
	_ = t.f.Close()
	_ = os.Remove(t.f.Name())
}
