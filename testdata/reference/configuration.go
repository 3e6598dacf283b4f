package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"spillway/settings"
)

// configuration returns the section of the document: a heading for each command and each group of
// flags, and a table of the flags.
func configuration() (string, error) {
	commands, err := settings.Reference()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	var serve settings.Command
	for i, c := range commands {
		if i > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "## spillway %s\n\n%s\n", c.Name, prose(c.Help))
		if c.Name == "serve" {
			serve = c
		} else {
			c = without(c, serve, &out)
		}
		if len(c.Arguments) > 0 {
			fmt.Fprintf(&out, "\nUsage: `spillway %s %s`\n", c.Name, strings.Join(c.Arguments, " "))
		}
		for _, g := range c.Groups {
			if g.Title != "" {
				fmt.Fprintf(&out, "\n### %s\n", g.Title)
			}
			writeTable(&out, g.Flags)
		}
	}
	return out.String(), nil
}

// without returns c without the flags of serve, if it has all of them, and says so.
func without(c, serve settings.Command, out *strings.Builder) settings.Command {
	shared := map[string]bool{}
	for _, g := range serve.Groups {
		for _, f := range g.Flags {
			shared[f.Name] = true
		}
	}
	var own []settings.Group
	common := 0
	for _, g := range c.Groups {
		var flags []settings.Flag
		for _, f := range g.Flags {
			if shared[f.Name] {
				common++
			} else {
				flags = append(flags, f)
			}
		}
		if len(flags) > 0 {
			own = append(own, settings.Group{Title: g.Title, Flags: flags})
		}
	}
	if common < len(shared) {
		return c
	}
	out.WriteString("\nIt has the flags of `spillway serve`")
	if len(own) > 0 {
		out.WriteString(", and these")
	}
	out.WriteString(".\n")
	c.Groups = own
	return c
}

func writeTable(out *strings.Builder, flags []settings.Flag) {
	out.WriteString("\n| flag and variable | default | |\n|---|---|---|\n")
	for _, f := range flags {
		name := "--" + f.Name
		if f.Value != "" {
			name += "=" + f.Value
		}
		value := ""
		switch {
		case f.Required:
			value = "required"
		case f.Default != "":
			value = code(f.Default)
		case f.Value == "":
			value = "off"
		}
		fmt.Fprintf(out, "| %s<br>`%s` | %s | %s |\n", code(name), f.Variable, cmp.Or(value, "–"), prose(f.Help))
	}
}

var (
	// word is what prose sets as code: a flag, an environment variable, a path, a value.
	word = regexp.MustCompile(`(?:--|\$)[A-Za-z][\w-]*|/__\w+__|'[^']+'`)

	// page is another document, which prose links to.
	page = regexp.MustCompile(`docs/([\w-]+\.md)`)
)

// prose returns a help text as Markdown.
func prose(text string) string {
	text = strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(text)
	text = page.ReplaceAllString(text, "[$1]($1)")
	return word.ReplaceAllStringFunc(text, func(w string) string { return code(strings.Trim(w, "'")) })
}

func code(text string) string { return "`" + strings.ReplaceAll(text, "|", `\|`) + "`" }
