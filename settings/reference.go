package settings

import (
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// A Command is a command of the program, as its reference describes it.
type Command struct {
	Name      string // such as "token create"
	Help      string
	Arguments []string // in angle brackets
	Groups    []Group
}

// A Group is a list of related flags.
type Group struct {
	Title string // empty for flags that need none
	Flags []Flag
}

// A Flag is a flag of a command.
type Flag struct {
	Name     string // without dashes
	Value    string // what its value is, such as SIZE; empty for a switch
	Default  string // empty if there is none
	Variable string // its environment variable
	Required bool
	Help     string
}

// Reference returns the commands with their flags, in the order of --help.
func Reference() ([]Command, error) {
	parser, err := newParser(new(Settings), func(string) string { return "" }, io.Discard, func(int) {})
	if err != nil {
		return nil, err
	}
	var all []Command
	for _, node := range parser.Model.Leaves(true) {
		c := Command{Name: strings.TrimPrefix(node.FullPath(), parser.Model.Name+" "), Help: node.Help}
		for _, argument := range node.Positional {
			c.Arguments = append(c.Arguments, "<"+argument.Name+">")
		}
		for _, level := range node.AllFlags(true) {
			for _, f := range level {
				if f.Name != "help" {
					c.add(f)
				}
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// add adds a flag to its group.
func (c *Command) add(f *kong.Flag) {
	title := ""
	if f.Group != nil {
		title = strings.TrimSuffix(f.Group.Title, ":")
	}
	flag := Flag{Name: f.Name, Default: f.Default, Variable: variable(f.Name), Required: f.Required, Help: f.Help}
	if !f.IsBool() {
		flag.Value = f.PlaceHolder
	}
	for i := range c.Groups {
		if c.Groups[i].Title == title {
			c.Groups[i].Flags = append(c.Groups[i].Flags, flag)
			return
		}
	}
	c.Groups = append(c.Groups, Group{title, []Flag{flag}})
}
