package main

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"spillway/testdata/archive"
)

// shape is an archive that is sent again and again, under other names.
type shape struct {
	kind   string
	weight int
	size   int64 // bytes of the archive
	source *os.File
	files  []file
}

// file is one of a shape's.
type file struct {
	header  zip.FileHeader
	at      int64  // offset of its compressed bytes in the archive
	crc32   uint32 // of the object's body, or of what that expands to
	gunzips bool   // crc32 is of the expanded body: how well it is compressed is Spillway's affair
}

// loadShapes prepares the archives, and finds out what has to become of them.
func loadShapes(ctx context.Context, o options) (shapes []*shape, err error) {
	for _, name := range slices.Sorted(maps.Keys(o.shapes)) {
		sample, err := archive.Prepare(ctx, o.cache, name, say)
		if err != nil {
			return nil, err
		}
		say("looking at %s", name)
		s := &shape{kind: name, weight: o.shapes[name], size: sample.Bytes}
		if s.source, err = os.Open(sample.Path); err != nil {
			return nil, err
		}
		z, err := zip.NewReader(s.source, sample.Bytes)
		if err != nil {
			return nil, err
		}
		for _, f := range z.File {
			at, err := f.DataOffset()
			if err != nil {
				return nil, err
			}
			sum, gunzips := f.CRC32, strings.HasSuffix(f.Name, ".sym") && f.Method != zip.Deflate
			if !gunzips {
				if sum, err = bodyCRC32(f, io.NewSectionReader(s.source, at, int64(f.CompressedSize64))); err != nil {
					return nil, err
				}
			}
			header := zip.FileHeader{
				Name: f.Name, Method: f.Method, CRC32: f.CRC32, CompressedSize64: f.CompressedSize64, UncompressedSize64: f.UncompressedSize64,
			}
			s.files = append(s.files, file{header, at, sum, gunzips})
		}
		shapes = append(shapes, s)
	}
	return shapes, nil
}

// bodyCRC32 returns the CRC-32 of the object that a file becomes. The body of a
// deflated symbol file is its compressed bytes in a gzip frame (RFC 1952), that of
// a stored file is the file.
func bodyCRC32(f *zip.File, packed io.Reader) (uint32, error) {
	sum := crc32.NewIEEE()
	framed := f.Method == zip.Deflate && strings.HasSuffix(f.Name, ".sym")
	if framed {
		sum.Write([]byte{0x1f, 0x8b, 8, 9: 0xff})
	} else if f.Method != zip.Store {
		return 0, fmt.Errorf("%s: neither deflated symbols nor stored", f.Name)
	}
	if _, err := io.Copy(sum, packed); err != nil {
		return 0, err
	}
	if framed {
		trailer := binary.LittleEndian.AppendUint32(nil, f.CRC32)
		sum.Write(binary.LittleEndian.AppendUint32(trailer, uint32(f.UncompressedSize64)))
	}
	return sum.Sum32(), nil
}

// parcel is an upload of a shape.
type parcel struct {
	*shape
	id      int
	again   bool   // a quarter of its files have the names that they always have
	before  []byte // what is before the archive: it has to be held then
	chunked bool   // its length is not stated

	cutAt  int64 // bytes of the archive after which its client goes away; 0: it does not
	rate   int64 // bytes a second; 0: as fast as it goes
	damage bool  // the CRC-32 of the file in the middle is wrong: a refusal is due
	unread bool  // its client does not read the answer; all such parcels of a shape are alike
}

// unreadShare is how many of the parcels have a client that does not read.
const unreadShare = 40

// pack makes the next upload by chance.
func (l *load) pack(r *rand.Rand, id int) *parcel {
	total := 0
	for _, s := range l.shapes {
		total += s.weight
	}
	pick := r.IntN(total)
	p := &parcel{id: id, again: r.IntN(3) > 0, chunked: r.IntN(3) == 0}
	for _, s := range l.shapes {
		if pick -= s.weight; pick < 0 {
			p.shape = s
			break
		}
	}
	if r.IntN(10) == 0 && p.size < 200<<20 {
		p.before = []byte("#!/bin/sh\nexit\n")
	}
	if r.IntN(10) == 0 {
		p.cutAt = 1 + r.Int64N(p.size)
	}
	if r.IntN(5) == 0 {
		// It takes 10 to 40 s.
		p.rate = max(p.size/int64(10+r.IntN(30)), 1000)
	}
	switch {
	case p.cutAt > 0:
	case r.IntN(12) == 0:
		p.damage = true
	case r.IntN(unreadShare) == 0:
		p.unread = true
	}
	return p
}

// name is what the i-th file is called in the parcel: the identifier within it is
// the parcel's, or the shape's.
func (p *parcel) name(i int) string {
	if !p.own(i) {
		return p.common(i)
	}
	return p.rename(i, fmt.Sprintf("%016X", p.id))
}

// own reports whether no other parcel has the i-th file's name.
func (p *parcel) own(i int) bool { return !p.unread && (!p.again || i%4 != 3) }

// common is what the i-th file is called in all parcels of the shape whose own it
// is not.
func (s *shape) common(i int) string {
	return s.rename(i, fmt.Sprintf("%016X", crc32.ChecksumIEEE([]byte(s.kind))))
}

// rename is the i-th file's name with another beginning of its identifier.
func (s *shape) rename(i int, identifier string) string {
	module, rest, _ := strings.Cut(s.files[i].header.Name, "/")
	return module + "/" + identifier + rest[len(identifier):]
}

// length is how long the archive is.
func (p *parcel) length() int64 { return int64(len(p.before)) + p.size }

// write writes the archive.
func (p *parcel) write(w io.Writer) error {
	if _, err := w.Write(p.before); err != nil {
		return err
	}
	z := zip.NewWriter(w)
	z.SetOffset(int64(len(p.before)))
	for i, f := range p.files {
		header := f.header
		header.Name = p.name(i)
		if p.damage && i == len(p.files)/2 {
			header.CRC32++
		}
		out, err := z.CreateRaw(&header)
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, io.NewSectionReader(p.source, f.at, int64(header.CompressedSize64))); err != nil {
			return err
		}
	}
	return z.Close()
}
