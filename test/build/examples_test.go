package build

import (
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/agent/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// taken reports an error for a configuration that culvertd would refuse, after filling in the values that differ
// between devices.
func taken(t *testing.T, toml string) {
	t.Helper()
	toml = strings.NewReplacer("THING", "pi-1", "ENDPOINT", "a1-ats.iot.eu-west-1.amazonaws.com").Replace(toml)
	if _, err := config.Parse(strings.NewReader(toml), "culvertd.toml"); err != nil {
		t.Errorf("%v\n%s", err, toml)
	}
}

func TestExampleOfCloudInit(t *testing.T) {
	const path = "examples/cloud-init/user-data.yaml"
	var toml strings.Builder
	_, rest, _ := strings.Cut(read(t, path), "content: |\n")
	for line := range strings.Lines(rest) {
		text, indented := strings.CutPrefix(line, "      ")
		if !indented && strings.TrimSpace(line) != "" {
			break
		}
		toml.WriteString(text)
	}
	taken(t, toml.String())
	filesAreReadable(t, read(t, path), toml.String())
	need(t, "cloud-init")
	run(t, nil, "cloud-init", "schema", "--config-file", path)
}

// filesAreReadable runs the commands before the daemon's start that set who may read what came with the image: there is
// no group culvert when an image is made.
func filesAreReadable(t *testing.T, cloudConfig, toml string) {
	t.Helper()
	dir := t.TempDir()
	files := []string{"."}
	for _, m := range regexp.MustCompile(`(?m)^(?:cert|key)_file *= "(.+)"`).FindAllStringSubmatch(toml, -1) {
		write(t, filepath.Join(dir, m[1]), "")
		files = append(files, m[1])
	}
	if len(files) != 3 {
		t.Fatalf("the configuration names %q", files)
	}
	modes := map[string]os.FileMode{".": 0o750}
	for _, file := range files {
		if file != "." {
			modes[file] = 0o640
		}
		if err := os.Chmod(filepath.Join(dir, file), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	_, commands, _ := strings.Cut(cloudConfig, "\nruncmd:\n")
	commands, _, _ = strings.Cut(commands, "systemctl enable")
	var groups strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^ +- ((chgrp|chmod) .*)$`).FindAllStringSubmatch(commands, -1) {
		line := strings.ReplaceAll(m[1], "/etc/culvert", dir)
		if m[2] == "chgrp" {
			groups.WriteString(line + " ")
			continue
		}
		run(t, nil, "sh", "-c", line)
	}
	for _, file := range files {
		path := filepath.Join(dir, file)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != modes[file] {
			t.Errorf("before the start %s has another mode than %v: %v, %v", file, modes[file], info.Mode(), err)
		}
		if !strings.HasPrefix(groups.String(), "chgrp culvert ") || !strings.Contains(groups.String(), path+" ") {
			t.Errorf("before the start %s is not given to the group culvert", file)
		}
	}
}

// The image has a user of its own, who must be able to read and write what is mounted.
func TestDirectoriesOfAContainerAreItsUsers(t *testing.T) {
	text := read(t, "configs/packaging/oci/Containerfile")
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(text)
	mounted := regexp.MustCompile(`-v (\S+?):(\S+)`).FindAllStringSubmatch(text, -1)
	if user == nil || len(mounted) != 3 {
		t.Fatalf("user %q, mounted are %q", user, mounted)
	}
	for _, m := range mounted {
		made := regexp.MustCompile(`(?m)^#   sudo install -d -o ` + user[1] + ` -g ` + user[2] + ` -m 0700 .*` + m[1] + `( |$)`)
		if !made.MatchString(text) {
			t.Errorf("%s is not made for user %s, who needs %s", m[1], user[1], m[2])
		}
	}
}

func TestExampleOfAnsible(t *testing.T) {
	t.Parallel()
	need(t, "ansible", "ansible-playbook")
	env := []string{"HOME=" + t.TempDir(), "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=False"}
	run(t, env, "ansible-playbook", "--syntax-check", "-i", "pi-1,", "examples/ansible/site.yml")
	out := filepath.Join(t.TempDir(), "culvertd.toml")
	role, err := filepath.Abs("../../examples/ansible/roles/culvertd")
	if err != nil {
		t.Fatal(err)
	}
	run(t, env, "ansible", "pi-1", "-i", "pi-1,", "-c", "local", "-m", "template", "-a", "src="+role+"/templates/culvertd.toml.j2 dest="+out,
		"-e", "@"+role+"/defaults/main.yml", "-e", "culvertd_endpoint=ENDPOINT")
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	taken(t, string(text))
}

// The role installs a package of another name than the one that it installed before, and no other.
func TestExampleOfAnsibleUpgrades(t *testing.T) {
	t.Parallel()
	need(t, "ansible-playbook")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "install.sh"), `case $* in
  *--dry-run*) echo "culvertd_$(cat `+dir+`/version)_arm64.deb from here" ;;
  *) cat `+dir+`/version >>`+dir+`/installed; : >`+dir+`/culvertd; chmod +x `+dir+`/culvertd ;;
esac
`)
	env := []string{"HOME=" + t.TempDir(), "ANSIBLE_NOCOLOR=1", "ANSIBLE_GATHERING=explicit", "PATH=" + dir + ":" + os.Getenv("PATH")}
	for _, c := range []struct{ version, want string }{{"1.2.3", "1.2.3\n"}, {"1.2.3", "1.2.3\n"}, {"1.2.30", "1.2.3\n1.2.30\n"}} {
		write(t, filepath.Join(dir, "version"), c.version+"\n")
		out := run(t, env, "ansible-playbook", "-i", "devices,", "-c", "local", "--tags", "install", "examples/ansible/site.yml",
			"-e", "ansible_become=false culvertd_release=file://"+dir+" culvertd_notes="+dir)
		installed, err := os.ReadFile(filepath.Join(dir, "installed"))
		if err != nil || string(installed) != c.want {
			t.Errorf("for version %s these were installed: %q, want %q (%v)\n%s", c.version, installed, c.want, err, out)
		}
	}
}

func TestExampleOfYocto(t *testing.T) {
	const dir = "examples/yocto/meta-culvert/recipes-connectivity/culvertd/"
	taken(t, read(t, dir+"files/culvertd.toml"))
	recipe := read(t, dir+"culvertd.inc")
	if sum := fmt.Sprintf("file://LICENSE;md5=%x", md5.Sum([]byte(read(t, "LICENSE")))); !strings.Contains(recipe, sum) {
		t.Errorf("the recipe does not have %s", sum)
	}
	// The tarballs contain the files that it installs.
	script := read(t, "scripts/packages")
	for _, m := range regexp.MustCompile(`\$\{S\}/(\S+)`).FindAllStringSubmatch(recipe, -1) {
		if m[1] != "culvertd" && !strings.Contains(script, "configs/"+m[1]) {
			t.Errorf("scripts/packages puts no %s into tarballs", m[1])
		}
	}
}

// TestExampleOfTerraform compares its policy of a device with the one that culvert setup-thing made in docs/walk.md.
func TestExampleOfTerraform(t *testing.T) {
	text := strings.NewReplacer("${local.topic}", "$aws/things/my-pi/tunnels/notify", "${var.thing}", "my-pi", "${local.arn}", "arn:aws:iot:eu-west-1:123456789012").
		Replace(read(t, "examples/terraform/main.tf"))
	got := statements(`Action = (%s), Resource = "([^"]+)"`, text)
	want := statements(`"Action": (%s), "Resource": "([^"]+)"`, read(t, "docs/walk.md"))
	if len(want) == 0 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Terraform allows %v, culvert setup-thing %v", got, want)
	}
}

// statement is one action of a policy and what it is allowed on.
type statement struct{ action, resource string }

// statements reads a policy in the given form, with %s for one action in quotes or a list of them in brackets.
func statements(form, text string) map[statement]bool {
	all := map[statement]bool{}
	for _, m := range regexp.MustCompile(fmt.Sprintf(form, `"[^"]+"|\[[^]]+\]`)).FindAllStringSubmatch(text, -1) {
		for _, action := range regexp.MustCompile(`iot:\w+`).FindAllString(m[1], -1) {
			all[statement{action, m[2]}] = true
		}
	}
	return all
}
