package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// bill returns the bill of materials of a binary, as CycloneDX JSON. It lists the modules
// that the binary itself names. parts says what licences they have.
func (c *commit) bill(binary string, parts []part, p platform) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	qualifiers := fmt.Sprintf("?goarch=%s&goos=%s&type=module", p.processor, p.system)
	main := cdx.Component{
		BOMRef:     "pkg:golang/spillway@" + c.version,
		Type:       cdx.ComponentTypeApplication,
		Name:       "spillway",
		Version:    c.version,
		PackageURL: "pkg:golang/spillway@" + c.version + qualifiers,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: digest(program)}},
		Licenses:   licencesOf([]string{"Apache-2.0"}),
		Properties: &[]cdx.Property{{Name: "commit", Value: c.hash}},
	}
	standard, err := component(parts, standardLibrary, strings.TrimPrefix(info.GoVersion, "go"), "", qualifiers)
	if err != nil {
		return nil, err
	}
	components, needs := []cdx.Component{standard}, []string{standard.BOMRef}
	for _, m := range info.Deps {
		dependency, err := component(parts, m.Path, m.Version, m.Sum, qualifiers)
		if err != nil {
			return nil, err
		}
		components, needs = append(components, dependency), append(needs, dependency.BOMRef)
	}
	bom := cdx.NewBOM()
	// The serial number has to differ between bills, and to be the same for the same binary.
	bom.SerialNumber = uuid.NewHash(sha256.New(), uuid.NameSpaceOID, program, 8).URN()
	bom.Metadata = &cdx.Metadata{Timestamp: c.date(), Component: &main}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &needs}}
	var out bytes.Buffer
	err = cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6)
	return out.Bytes(), err
}

// component describes a module by its path, version and go.sum checksum, which may be empty.
func component(parts []part, path, version, sum, qualifiers string) (cdx.Component, error) {
	at := slices.IndexFunc(parts, func(p part) bool { return p.path == path && p.version == version })
	if at < 0 {
		return cdx.Component{}, fmt.Errorf("the binary has %s %s, which go list does not name", path, version)
	}
	name := "pkg:golang/" + path + "@" + version
	dependency := cdx.Component{
		BOMRef:     name,
		Type:       cdx.ComponentTypeLibrary,
		Name:       path,
		Version:    version,
		Scope:      cdx.ScopeRequired,
		PackageURL: name + qualifiers,
		Licenses:   licencesOf(parts[at].licences),
	}
	if sum != "" {
		hash, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:"))
		if err != nil {
			return cdx.Component{}, fmt.Errorf("%s %s: checksum %q: %w", path, version, sum, err)
		}
		dependency.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(hash)}}
	}
	return dependency, nil
}

func licencesOf(ids []string) *cdx.Licenses {
	all := cdx.Licenses{}
	for _, id := range ids {
		all = append(all, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	return &all
}
