// Command publish writes the files of a release other than its packages. It needs no network and no key, and the same
// files give the same bytes. scripts/release calls it, and signs.
//
//	publish zip       --time T --out FILE DIRECTORY                 a .zip of a directory
//	publish manifests --version V --url URL --files DIRECTORY       culvert.rb (Homebrew), culvert.json (Scoop), culvert.nix
//	publish statement --version V --commit C --go V --builder URI --files DIRECTORY   provenance.intoto.json
//	publish apt       --time T [--url URL] --files DIRECTORY --out DIRECTORY          an APT repository, still unsigned
//
// Times are RFC 3339.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// options are the options of all subcommands; each uses some.
type options struct {
	version, url, commit, goVersion, builder string
	files, out                               string
	time                                     time.Time
}

const homepage = "https://github.com/culvert-iot/culvert"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "publish:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("zip, manifests, statement and apt are known")
	}
	var o options
	flags := flag.NewFlagSet("publish", flag.ContinueOnError)
	flags.StringVar(&o.version, "version", "", "the release's version, without a v")
	flags.StringVar(&o.url, "url", "", "where its files are downloaded from")
	flags.StringVar(&o.commit, "commit", "", "the commit that they are built from")
	flags.StringVar(&o.goVersion, "go", "", "the version of Go that builds them")
	flags.StringVar(&o.builder, "builder", "", "the URI that names the builder")
	flags.StringVar(&o.files, "files", "", "directory of the release's files")
	flags.StringVar(&o.out, "out", "", "what to write")
	flags.Func("time", "when the commit was made", func(s string) (err error) {
		o.time, err = time.Parse(time.RFC3339, s)
		return err
	})
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "zip":
		return writeZip(o.out, flags.Arg(0), o.time)
	case "manifests":
		return writeManifests(o)
	case "statement":
		return writeStatement(o)
	case "apt":
		return writeAPT(o)
	}
	return fmt.Errorf("%s: zip, manifests, statement and apt are known", args[0])
}
