package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPlots: each plot is SVG, and has the medians of what it names; of memory, the most.
func TestPlots(t *testing.T) {
	folder := t.TempDir()
	from := filepath.Join(folder, "figures.json")
	if err := os.WriteFile(from, []byte(`{
		"results": [
			{"archive": "firefox", "archive_bytes": 5e8, "what": "spillway", "at_once": 1, "cpu_seconds": 3},
			{"archive": "firefox", "archive_bytes": 5e8, "what": "spillway", "at_once": 1, "cpu_seconds": 2.25},
			{"archive": "firefox", "archive_bytes": 5e8, "what": "spillway", "at_once": 1, "cpu_seconds": 1},
			{"archive": "firefox", "archive_bytes": 5e8, "what": "PUT of the objects", "at_once": 1, "cpu_seconds": 0.15},
			{"archive": "many", "what": "spillway, at once", "at_once": 16, "peak_resident_bytes": 91e6},
			{"archive": "many", "what": "spillway, at once", "at_once": 16, "peak_resident_bytes": 93e6}
		],
		"profile": [{"name": "inflate", "percent": 61}, {"name": "MD5", "percent": 4}]
	}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(from, folder); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]string{
		"cost.svg":   {"Spillway", "4.5", "PUT of the objects", "0.3"},
		"memory.svg": {"16 × many", "93"},
		"cpu.svg":    {"inflate", "61", "MD5", "4"},
	} {
		texts, err := textsOf(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !slices.Contains(texts, w) {
				t.Errorf("%s does not say %q: %q", file, w, texts)
			}
		}
	}
}

// textsOf returns the texts of an SVG file.
func textsOf(path string) (all []string, err error) {
	data, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	d := xml.NewDecoder(data)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			all = append(all, strings.TrimSpace(string(text)))
		}
	}
}
