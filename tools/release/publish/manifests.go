package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

const summary = "Reach devices through AWS IoT Secure Tunneling"

// writeManifests writes the manifests for operators' package managers. Each names archives of the release and their
// checksums. A missing file is an error, so that no manifest promises it.
func writeManifests(o options) error {
	if o.version == "" || o.url == "" {
		return fmt.Errorf("--version and --url are needed")
	}
	for name, text := range map[string]string{"culvert.rb": formula, "culvert.nix": nixExpression} {
		t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
			"url": func(platform string) string { return o.url + "/" + archiveName(o.version, platform) },
			"sum": func(platform string) (string, error) { return sumOf(o, platform) },
		}).Parse(text)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, map[string]string{"Version": o.version, "Homepage": homepage, "Summary": summary}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := put(o.files, name, b.Bytes()); err != nil {
			return err
		}
	}
	return writeScoop(o)
}

func archiveName(version, platform string) string {
	suffix := ".tar.gz"
	if platform == "windows_amd64" {
		suffix = ".zip"
	}
	return "culvert_" + version + "_" + platform + suffix
}

func sumOf(o options, platform string) (string, error) {
	content, err := os.ReadFile(filepath.Join(o.files, archiveName(o.version, platform)))
	return fmt.Sprintf("%x", sha256.Sum256(content)), err
}

// formula is the formula for Homebrew. On macOS there is a build for Apple's processors only.
const formula = `class Culvert < Formula
  desc "{{.Summary}}"
  homepage "{{.Homepage}}"
  version "{{.Version}}"
  license "Apache-2.0"

  on_macos do
    depends_on arch: :arm64
    url "{{url "darwin_arm64"}}"
    sha256 "{{sum "darwin_arm64"}}"
  end

  on_linux do
    on_intel do
      url "{{url "linux_amd64"}}"
      sha256 "{{sum "linux_amd64"}}"
    end
    on_arm do
      url "{{url "linux_arm64"}}"
      sha256 "{{sum "linux_arm64"}}"
    end
  end

  def install
    bin.install "culvert"
    man1.install Dir["man1/*"]
    bash_completion.install "culvert.bash" => "culvert"
    zsh_completion.install "_culvert"
    fish_completion.install "culvert.fish"
  end

  test do
    assert_match "culvert", shell_output("#{bin}/culvert version")
  end
end
`

// nixExpression is meant for callPackage.
const nixExpression = `{ lib, stdenvNoCC, fetchurl, installShellFiles }:

let
  archives = {
    x86_64-linux = {
      url = "{{url "linux_amd64"}}";
      sha256 = "{{sum "linux_amd64"}}";
    };
    aarch64-linux = {
      url = "{{url "linux_arm64"}}";
      sha256 = "{{sum "linux_arm64"}}";
    };
    aarch64-darwin = {
      url = "{{url "darwin_arm64"}}";
      sha256 = "{{sum "darwin_arm64"}}";
    };
  };
  system = stdenvNoCC.hostPlatform.system;
in
stdenvNoCC.mkDerivation {
  pname = "culvert";
  version = "{{.Version}}";
  src = fetchurl (archives.${system} or (throw "culvert has no build for ${system}"));
  nativeBuildInputs = [ installShellFiles ];
  installPhase = ''
    install -D -m 0755 culvert $out/bin/culvert
    installManPage man1/*
    installShellCompletion --bash --name culvert culvert.bash
    installShellCompletion --zsh _culvert
    installShellCompletion --fish culvert.fish
  '';
  meta = {
    description = "{{.Summary}}";
    homepage = "{{.Homepage}}";
    license = lib.licenses.asl20;
    mainProgram = "culvert";
    platforms = builtins.attrNames archives;
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
  };
}
`

// writeScoop writes the manifest for Scoop, a package manager of Windows.
func writeScoop(o options) error {
	sum, err := sumOf(o, "windows_amd64")
	if err != nil {
		return err
	}
	type archive struct {
		URL  string `json:"url"`
		Hash string `json:"hash"`
		Dir  string `json:"extract_dir"`
	}
	return writeJSON(o.files, "culvert.json", struct {
		Version      string             `json:"version"`
		Description  string             `json:"description"`
		Homepage     string             `json:"homepage"`
		License      string             `json:"license"`
		Architecture map[string]archive `json:"architecture"`
		Bin          string             `json:"bin"`
	}{
		o.version, summary, homepage, "Apache-2.0",
		map[string]archive{"64bit": {o.url + "/" + archiveName(o.version, "windows_amd64"), sum, "culvert_" + o.version + "_windows_amd64"}},
		"culvert.exe",
	})
}

func writeJSON(dir, name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return put(dir, name, append(text, '\n'))
}
