package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// nothing is an S3 server that answers each request after the same time, checks what it
// gets, and forgets it. It keeps only the objects of Spillway's probe, which are read back.
type nothing struct {
	server   *http.Server
	Endpoint string
	latency  time.Duration

	mu      sync.Mutex
	objects map[string]object      // by path
	uploads map[string]*unfinished // by ID
	lastID  int
}

// object is an object, or a part of one.
type object struct {
	header http.Header // as it was stored
	crc32  uint32
	body   []byte // nil: forgotten
}

// unfinished is a multipart upload that is neither completed nor aborted.
type unfinished struct {
	path      string
	header    http.Header
	initiated time.Time
	parts     map[int]object // by number
}

func startNothing(ctx context.Context, latency time.Duration) (*nothing, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &nothing{
		Endpoint: "http://" + listener.Addr().String(), latency: latency,
		objects: map[string]object{}, uploads: map[string]*unfinished{},
	}
	n.server = &http.Server{Handler: n, ReadHeaderTimeout: time.Minute}
	go func() { _ = n.server.Serve(listener) }() // until it is closed
	return n, nil
}

func (n *nothing) Close() error { return n.server.Close() }

// keeps reports whether the object at a path is one of Spillway's probe. No symbol file has
// such a name.
func keeps(at string) bool { return strings.HasPrefix(path.Base(at), ".spillway-") }

// ServeHTTP answers what Spillway asks (S3 API Reference, the pages of the operations).
func (n *nothing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got, err := receive(r)
	if err != nil {
		return // the client has gone
	}
	time.Sleep(n.latency)
	if sent := r.Header.Get(checksumHeader); sent != "" && r.Method == http.MethodPut && sent != encodeCRC32(got.crc32) {
		refuse(w, http.StatusBadRequest, "BadDigest")
		return
	}
	query := r.URL.Query()
	isKey := strings.Count(r.URL.Path, "/") > 1
	switch {
	case query.Has("uploadId"):
		n.multipart(w, r, got)
	case r.Method == http.MethodPost && query.Has("uploads"):
		n.create(w, r)
	case query.Has("uploads"):
		n.list(w, query.Get("prefix"), query.Get("key-marker"), query.Get("max-uploads"))
	case r.Method == http.MethodPut:
		n.keep(r.URL.Path, got)
		got.describe(w.Header())
	case r.Method == http.MethodDelete:
		n.mu.Lock()
		delete(n.objects, r.URL.Path)
		n.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	case isKey:
		n.get(w, r)
	}
}

// receive reads a request's body, and keeps it if it is one of the probe's.
func receive(r *http.Request) (object, error) {
	sum := crc32.NewIEEE()
	var body bytes.Buffer
	to := io.Writer(sum)
	if keeps(r.URL.Path) {
		to = io.MultiWriter(sum, &body)
	}
	_, err := io.Copy(to, r.Body)
	return object{header: storedHeader(r.Header), crc32: sum.Sum32(), body: body.Bytes()}, err
}

// storedHeader returns the headers of a request that are stored with the object.
func storedHeader(sent http.Header) http.Header {
	stored := http.Header{}
	for name, values := range sent {
		if strings.HasPrefix(name, "X-Amz-Meta-") || slices.Contains([]string{"Content-Type", "Content-Encoding", "Cache-Control"}, name) {
			stored[name] = values
		}
	}
	return stored
}

func (n *nothing) keep(at string, o object) {
	if !keeps(at) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.objects[at] = o
}

// get answers a GET or a HEAD.
func (n *nothing) get(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	o, ok := n.objects[r.URL.Path]
	n.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	maps.Copy(w.Header(), o.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(o.body)))
	o.describe(w.Header())
	_, _ = w.Write(o.body) // to a HEAD, nothing
}

// create begins a multipart upload.
func (n *nothing) create(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.lastID++
	id := strconv.Itoa(n.lastID)
	n.uploads[id] = &unfinished{r.URL.Path, storedHeader(r.Header), time.Now(), map[int]object{}}
	n.mu.Unlock()
	for _, name := range []string{"X-Amz-Checksum-Algorithm", "X-Amz-Checksum-Type"} {
		if value := r.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	bucket, key := split(r.URL.Path)
	respond(w, struct {
		XMLName               xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket, Key, UploadId string
	}{Bucket: bucket, Key: key, UploadId: id})
}

// multipart answers a request that names a multipart upload.
func (n *nothing) multipart(w http.ResponseWriter, r *http.Request, got object) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := r.URL.Query().Get("uploadId")
	u := n.uploads[id]
	if u == nil || u.path != r.URL.Path {
		refuse(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	switch r.Method {
	case http.MethodPut:
		number, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
		if err != nil {
			refuse(w, http.StatusBadRequest, "InvalidArgument")
			return
		}
		u.parts[number] = got
		got.describe(w.Header())
	case http.MethodPost:
		n.complete(w, r, id)
	case http.MethodDelete:
		delete(n.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	}
}

// complete makes an object of the parts. Where they are forgotten, it takes the client's word
// for their checksum. The caller has the lock.
func (n *nothing) complete(w http.ResponseWriter, r *http.Request, id string) {
	u := n.uploads[id]
	sum := r.Header.Get(checksumHeader)
	if keeps(u.path) {
		whole := object{header: u.header}
		for _, number := range slices.Sorted(maps.Keys(u.parts)) {
			whole.body = append(whole.body, u.parts[number].body...)
		}
		whole.crc32 = crc32.ChecksumIEEE(whole.body)
		if sum != "" && sum != encodeCRC32(whole.crc32) {
			refuse(w, http.StatusBadRequest, "BadDigest")
			return
		}
		n.objects[u.path] = whole
	}
	delete(n.uploads, id)
	bucket, key := split(u.path)
	respond(w, struct {
		XMLName                                        xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket, Key, ETag, ChecksumCRC32, ChecksumType string
	}{Bucket: bucket, Key: key, ETag: fmt.Sprintf(`"%032x-%d"`, n.lastID, len(u.parts)), ChecksumCRC32: sum, ChecksumType: "FULL_OBJECT"})
}

// listed is an entry of a list of unfinished uploads.
type listed struct {
	Key, UploadId string
	Initiated     time.Time
}

// list lists unfinished uploads, by key.
func (n *nothing) list(w http.ResponseWriter, prefix, marker, limit string) {
	var all []listed
	n.mu.Lock()
	for id, u := range n.uploads {
		if _, key := split(u.path); strings.HasPrefix(key, prefix) && key > marker {
			all = append(all, listed{key, id, u.initiated.UTC()})
		}
	}
	n.mu.Unlock()
	slices.SortFunc(all, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), a.Initiated.Compare(b.Initiated))
	})
	most, err := strconv.Atoi(cmp.Or(limit, "1000"))
	if err != nil || most < 1 {
		refuse(w, http.StatusBadRequest, "InvalidArgument")
		return
	}
	page := struct {
		XMLName       xml.Name `xml:"ListMultipartUploadsResult"`
		IsTruncated   bool
		NextKeyMarker string   `xml:",omitempty"`
		Upload        []listed `xml:"Upload"`
	}{Upload: all}
	if len(all) > most {
		page.Upload, page.IsTruncated, page.NextKeyMarker = all[:most], true, all[most-1].Key
	}
	respond(w, page)
}

const checksumHeader = "X-Amz-Checksum-Crc32"

// describe sets the headers that S3 answers with about an object or a part. The ETag is no
// MD5, as those of objects that S3 encrypts.
func (o object) describe(h http.Header) {
	h.Set("ETag", fmt.Sprintf(`"%032x"`, o.crc32))
	h.Set(checksumHeader, encodeCRC32(o.crc32))
	h.Set("X-Amz-Checksum-Type", "FULL_OBJECT")
}

// encodeCRC32 returns a checksum as S3 writes it.
func encodeCRC32(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// split returns the bucket and the key of a path.
func split(at string) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(at, "/"), "/")
	return bucket, key
}

func respond(w http.ResponseWriter, content any) {
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(content) // to a client that may have gone
}

// refuse answers with an error of S3.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
	}{Code: code})
}
