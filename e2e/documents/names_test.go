package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"spillway/settings"
)

// foreign are flags of other programs that the documents name by themselves.
var foreign = map[string]string{
	"--content-on-error": "wget",
	"--data-urlencode":   "curl",
	"--fail":             "curl",
	"--form":             "curl",
	"--post-file":        "wget",
	"--upload-file":      "curl",
}

// TestFlagsExist: each flag that the documents name is one of the program, and so is each that
// their commands give to it.
func TestFlagsExist(t *testing.T) {
	flags := map[string]bool{"--help": true}
	commands, err := settings.Reference()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		for _, g := range c.Groups {
			for _, f := range g.Flags {
				flags["--"+f.Name] = true
			}
		}
	}
	flag := regexp.MustCompile(`(?:^|\s)(--[a-z][\w-]*)`)
	program := regexp.MustCompile(`(?:^|[\s(/])spillway((?: [^|;)]*)?)`)
	used := map[string]bool{}
	for _, d := range read(t) {
		var calls []string // arguments of the program
		for _, s := range d.spans() {
			if strings.HasPrefix(s, "--") {
				calls = append(calls, s)
			}
		}
		for _, c := range append(d.spans(), d.commands()...) {
			for _, p := range program.FindAllStringSubmatch(c, -1) {
				calls = append(calls, p[1])
			}
		}
		for _, c := range calls {
			for _, f := range flag.FindAllStringSubmatch(c, -1) {
				if !flags[f[1]] && foreign[f[1]] == "" {
					t.Errorf("%s names the flag %s, which does not exist", d.path, f[1])
				}
				used[f[1]] = true
			}
		}
	}
	for f, program := range foreign {
		if !used[f] || flags[f] {
			t.Errorf("no document names %s of %s, or it is ours", f, program)
		}
	}
}

// TestCommandsExist: each command of the program that the documents name exists.
func TestCommandsExist(t *testing.T) {
	commands, err := settings.Reference()
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`(?:^|[\s(/])spillway ([a-z]+(?:(?: |\|)[a-z]+)*)`)
	count := 0
	for _, d := range read(t) {
		for _, text := range append(d.spans(), d.commands()...) {
			for _, c := range call.FindAllStringSubmatch(text, -1) {
				words := strings.Fields(c[1])
				// As in "token create|list|revoke".
				for word := range strings.SplitSeq(words[len(words)-1], "|") {
					name := strings.Join(append(slices.Clone(words[:len(words)-1]), word), " ")
					if count++; !slices.ContainsFunc(commands, func(c settings.Command) bool {
						return c.Name == name || strings.HasPrefix(c.Name, name+" ")
					}) {
						t.Errorf("%s names the command spillway %s, which does not exist", d.path, name)
					}
				}
			}
		}
	}
	if count < 5 {
		t.Errorf("the documents name only %d commands", count)
	}
}

// TestTargetsExist: each make target that the documents name exists, and each that make help
// lists is in a document.
func TestTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{} // whether a document names it
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = false
	}
	call := regexp.MustCompile(`(?:^|\s)make ([a-z]+)(?:\s|$)`)
	for _, d := range read(t) {
		for _, text := range append(d.spans(), d.commands()...) {
			for _, c := range call.FindAllStringSubmatch(text, -1) {
				if _, ok := targets[c[1]]; !ok {
					t.Errorf("%s names make %s, which does not exist", d.path, c[1])
				}
				targets[c[1]] = true
			}
		}
	}
	for target, found := range targets {
		if !found {
			t.Errorf("no document names make %s", target)
		}
	}
}

// TestVariablesExist: each environment variable of Spillway's that the documents name is that
// of a flag, or something in the repository reads it.
func TestVariablesExist(t *testing.T) {
	variable := regexp.MustCompile(`\bSPILLWAY_[A-Z0-9_]+\b`)
	known := map[string]bool{}
	walk(t, func(_, source string) {
		for _, v := range variable.FindAllString(source, -1) {
			known[v] = true
		}
	})
	commands, err := settings.Reference()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		for _, g := range c.Groups {
			for _, f := range g.Flags {
				known[f.Variable] = true
			}
		}
	}
	for _, d := range read(t) {
		for _, v := range variable.FindAllString(d.text, -1) {
			if !known[v] {
				t.Errorf("%s names %s, which nothing reads", d.path, v)
			}
		}
	}
}
