// Command monitoring writes deploy/grafana/spillway.json. The dashboard is made by code, because
// its panels have much in common, and the compiler knows Grafana's fields. A test fails while
// the file is another. The tests also check the rules of deploy/prometheus.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// file is where the dashboard is kept, from the root of the repository.
const file = "deploy/grafana/spillway.json"

func main() {
	text, err := render()
	if err == nil {
		err = os.WriteFile("../../"+file, text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "monitoring:", err)
		os.Exit(1)
	}
}

// render returns the dashboard as the file has it.
func render() ([]byte, error) {
	d, err := build()
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}
