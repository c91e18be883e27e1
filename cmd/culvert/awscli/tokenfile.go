package awscli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli/output"
)

// tokenFile is a file for tokens, written beside its place and moved there when it is whole.
type tokenFile struct {
	path string
	f    *os.File
}

// openTokenFile makes the file before the call: tokens are told once, and must have somewhere to go. nil: none wanted.
func (r *run) openTokenFile() (*tokenFile, error) {
	if !r.tokens || !r.cmd.Flags().Changed("token-file") {
		return nil, nil
	}
	if r.tokenFile == "" {
		return nil, usagef("--token-file needs a name")
	}
	if info, err := os.Stat(r.tokenFile); err == nil && !info.Mode().IsRegular() {
		return nil, usagef("--token-file %s: it is no file", r.tokenFile)
	}
	f, err := os.CreateTemp(filepath.Dir(r.tokenFile), ".culvert-tokens-*") // mode 0600
	if err != nil {
		return nil, &Error{Code: exitOther, Text: "Cannot write the token file: " + err.Error(), Advice: "give --token-file a name in a directory that you can write to"}
	}
	return &tokenFile{r.tokenFile, f}, nil
}

var tokenMembers = []string{"sourceAccessToken", "destinationAccessToken"}

// keep moves the tokens of an answer into the file, with what is needed to know them by.
func (t *tokenFile) keep(answer map[string]any, region string) error {
	content := map[string]any{"region": region}
	for _, k := range []string{"tunnelId", "tunnelArn"} {
		if v, ok := answer[k]; ok {
			content[k] = v
		}
	}
	for _, k := range tokenMembers {
		if v, ok := answer[k]; ok {
			content[k] = v
			delete(answer, k)
		}
	}
	err := output.Printer{Form: "json", Order: append([]string{"region"}, order...)}.Print(t.f, content)
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
		return &Error{Code: exitOther, Text: fmt.Sprintf("Cannot write the token file %s, and the tokens are lost: %v", t.path, err), Advice: "make new ones: culvert rotate-tunnel-access-token"}
	}
	return nil
}

// drop removes what was not kept.
func (t *tokenFile) drop() {
	if t == nil {
		return
	}
	_ = t.f.Close()
	_ = os.Remove(t.f.Name())
}
