package zip_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"spillway/stream"
	"spillway/testdata/archive"
	"spillway/testdata/budgettest"
	"spillway/testdata/nightly"
	"spillway/testdata/ziptest"
)

// pythonReads is a program that reads the archives in a folder and prints the names and
// contents of those that Python accepts.
const pythonReads = `
import base64, json, os, sys, zipfile
seen = {}
for name in os.listdir(sys.argv[1]):
    try:
        with zipfile.ZipFile(os.path.join(sys.argv[1], name)) as z:
            seen[name] = {i.filename: base64.b64encode(z.read(i)).decode() for i in z.infolist() if not i.filename.endswith("/")}
    except Exception:
        pass
json.dump(seen, sys.stdout)
`

// TestPythonSeesTheSame: if both we and Python accept an archive, we read the same from it.
// Without Python 3, archive/zip is the only other reader, see [FuzzRead].
func TestPythonSeesTheSame(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("there is no Python 3 here")
		return
	}
	folder := t.TempDir()
	archives := map[string][]byte{}
	add := func(data []byte) {
		name := fmt.Sprintf("%04d.zip", len(archives))
		archives[name] = data
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range allRules() {
		if len(r.archive) < 1<<20 {
			add(r.archive)
		}
	}
	for _, w := range archive.Writers {
		add(w.Write(archive.Samples(1)...))
	}
	for _, data := range changedArchives(t) {
		add(data)
	}
	cmd := exec.CommandContext(t.Context(), python, "-W", "ignore", "-c", pythonReads, folder)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, said.Bytes())
	}
	var seen map[string]map[string][]byte
	if err := json.Unmarshal(out.Bytes(), &seen); err != nil {
		t.Fatal(err)
	}
	both := 0
	for name, data := range archives {
		s, report, err := ziptest.Reading{Data: data}.Do(t)
		other, ok := seen[name]
		if err != nil || !ok {
			continue
		}
		both++
		for _, ignored := range stream.IgnoredNames(report.Ignored) {
			delete(other, ignored)
		}
		ziptest.CheckSame(t, ziptest.Contents(t, s), other)
	}
	t.Logf("%d archives, of which both read %d", len(archives), both)
	if least := nightly.Pick(200, 1000); both < least {
		t.Errorf("want at least %d", least)
	}
}

// changedArchives returns archives that we accept although some of their bytes were changed,
// removed or inserted, or whole records moved. They are the same every time.
func changedArchives(t *testing.T) (accepted [][]byte) {
	t.Helper()
	var seeds [][]byte
	for _, r := range allRules() {
		if len(r.archive) > 22 && len(r.archive) < 4<<10 {
			seeds = append(seeds, r.archive)
		}
	}
	m := budgettest.New(t)
	random := rand.New(rand.NewPCG(1, 'P'))
	for range nightly.Pick(4000, 20_000) {
		data := slices.Clone(seeds[random.IntN(len(seeds))])
		if random.IntN(2) == 0 {
			steps := slices.Clone(recordSteps[random.IntN(len(recordSteps))])
			for range random.IntN(3) {
				steps = slices.Insert(steps, 0, byte(random.IntN(numberOfChanges)), byte(random.IntN(256)), byte(random.IntN(256)))
			}
			data = changeRecords(data, steps)
		}
		for range random.IntN(4) {
			if len(data) == 0 {
				break
			}
			at := random.IntN(len(data))
			switch random.IntN(8) {
			case 0:
				data = slices.Delete(data, at, min(len(data), at+1+random.IntN(4)))
			case 1:
				data = slices.Insert(data, at, data[at:min(len(data), at+1+random.IntN(60))]...)
			case 2:
				data[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[random.IntN(5)]
			default:
				data[at] ^= 1 << random.IntN(8)
			}
		}
		if _, _, err := (ziptest.Reading{Data: data, Budget: m}).Do(t); err == nil {
			accepted = append(accepted, data)
		}
	}
	return accepted
}
