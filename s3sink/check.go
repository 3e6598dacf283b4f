package s3sink

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"spillway/stream"
)

// checkLimit bounds each step of [Sink.Check]: as long as a probe may take.
const checkLimit = 5 * time.Second

// The permissions that are checked, in the terms of S3's policies.
const (
	actionPut         = "s3:PutObject"
	actionGet         = "s3:GetObject"
	actionList        = "s3:ListBucket"
	actionAbort       = "s3:AbortMultipartUpload"
	actionListUploads = "s3:ListBucketMultipartUploads"
	actionDelete      = "s3:DeleteObject"
)

// An Action is what came of trying one of S3's actions in one place.
type Action struct {
	Name           string // the permission, e.g. "s3:PutObject"
	Bucket, Prefix string
	Needed         bool // uploads, or the sweep, fail without it

	Tried bool     // false: an action failed that has to succeed first
	Err   error    // nil if it worked
	Left  []string // keys of what could not be removed: objects or unfinished multipart uploads

	needs string // what a denied request needs
}

// Code returns S3's error code, or a few words on why there is none.
func (a Action) Code() string {
	failed, ok := errors.AsType[*stream.StoreError](a.Err)
	if !ok {
		return ""
	}
	return failed.Code
}

// Denied reports whether S3 answered that the credentials lack a permission.
func (a Action) Denied() bool { return denies(a.Code()) }

// Explain is [Explain] for Err, in two parts: what failed, and what the operator can do.
func (a Action) Explain() (failure, remedy string) {
	failure, remedy = explain(a.Err)
	if a.Denied() {
		remedy = lacks(a.needs)
	}
	return failure, remedy
}

// Check tries every action that Spillway needs, in each bucket and under each prefix, with
// the requests of [Sink.Probe]. Under the prefix of receipts, it only writes and deletes. Its
// objects have names of their own, so that it disturbs no running instance. It deletes them,
// and aborts its multipart uploads. So it does not end with ctx.
//
// An action that fails does not keep the others from being tried. Each step takes at most
// 5 s. Removing what was written follows the others, and a store that refuses checksums is
// asked several times.
func (s *Sink) Check(ctx context.Context) []Action {
	ctx = context.WithoutCancel(ctx)
	name := ".spillway-check-" + strings.ToLower(rand.Text()[:12])
	tried := make([][]Action, len(s.probers))
	var checks sync.WaitGroup
	for i, p := range s.probers {
		checks.Go(func() {
			tried[i] = (&prober{
				destination: p.destination,
				names:       names{single: name, joined: name + "-parts", absent: name + "-none"},
				api:         p.api, part: p.part, roundLimit: checkLimit, onChecksum: p.onChecksum,
			}).checkActions(ctx)
		})
	}
	checks.Wait()
	// After the others, which find out by which checksum the store checks what it gets.
	receipts := make([][]Action, len(s.receiptProbers))
	for i, p := range s.receiptProbers {
		checks.Go(func() { receipts[i] = p.checkActions(ctx, name) })
	}
	checks.Wait()
	return slices.Concat(append(tried, receipts...)...)
}

// checkActions is Check for one destination.
func (p *prober) checkActions(ctx context.Context) []Action {
	var found findings
	var listing error
	var steps sync.WaitGroup
	steps.Go(func() { found = p.chooseChecksum(ctx) })
	steps.Go(func() {
		listing = p.step(ctx, func(ctx context.Context) error {
			_, err := p.api.listUploads(ctx, p.target(""), "", 1)
			return err
		})
	})
	steps.Wait()
	aborting := p.step(ctx, func(ctx context.Context) error {
		return findingsOf(abortLeftover(ctx, &p.leftover), abortLeftover(ctx, &p.unjoined)).err()
	})
	if len(found) > 0 {
		_ = p.step(ctx, p.abortUnnamed) // the sweep aborts the others
	}
	deleting := p.step(ctx, func(ctx context.Context) error { return p.deleteObjects(ctx).err() })
	tls, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	if p.store.speaksTLS(tls, found.worst()) {
		for i, err := range found {
			found[i] = withCode(err, codeTLSPort)
		}
		listing, deleting = withCode(listing, codeTLSPort), withCode(deleting, codeTLSPort)
	}
	return p.actions(found, listing, aborting, deleting)
}

// step makes a check within checkLimit.
func (p *prober) step(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	return findingsOf(runCheck(ctx, check)).worst()
}

// abortUnnamed aborts the multipart uploads whose create was answered too late, or not at all.
func (p *prober) abortUnnamed(ctx context.Context) error {
	for _, name := range []string{p.single, p.joined} {
		t := p.target(name)
		page, err := p.api.listUploads(ctx, t, "", maxPage)
		if err != nil {
			return err
		}
		for _, u := range page.uploads {
			if u.key != t.key {
				continue
			}
			if err := p.api.abort(ctx, t, u.id); err != nil && !errors.Is(err, errNoUpload) {
				return err
			}
		}
	}
	return nil
}

// actions tells which action failed from what a round found, and from the errors of the other
// steps.
func (p *prober) actions(found findings, listing, aborting, deleting error) []Action {
	lookup := found.of(p.isLookup)
	get := found.of(func(e *stream.StoreError) bool {
		return !p.isLookup(e) && (e.Op == "HeadObject" || e.Op == "GetObject")
	})
	put := found.of(func(e *stream.StoreError) bool {
		return !slices.Contains([]string{"HeadObject", "GetObject", "AbortMultipartUpload"}, e.Op)
	})
	if lookup == nil {
		// The answer to a HEAD does not tell a missing bucket from a missing object.
		lookup = found.of(func(e *stream.StoreError) bool { return e.Code == "NoSuchBucket" })
	}
	action := func(name string, tried bool, err error) Action {
		return Action{Name: name, Bucket: p.bucket, Prefix: p.prefix, Needed: name != actionDelete, Tried: tried || err != nil, Err: err, needs: name}
	}
	putting, getting := action(actionPut, true, put), action(actionGet, p.read.Load() || lookup == nil, get)
	list := action(actionList, lookup == nil, lookup)
	switch {
	case list.Denied() && getting.Denied():
		list = action(actionList, false, nil) // the lookup needs s3:GetObject, too
	case p.read.Load():
		list.needs = needsList
	default:
		list.needs = needsGet
	}
	abort := action(actionAbort, p.created.Load(), aborting)
	for _, m := range []*multipart{p.leftover, p.unjoined} {
		if m != nil {
			abort.Left = append(abort.Left, m.target().key)
		}
	}
	deletion := action(actionDelete, true, deleting)
	if deleting != nil && (put == nil || p.read.Load()) {
		deletion.Left = []string{p.target(p.single).key, p.target(p.joined).key}
	}
	return []Action{putting, getting, list, abort, action(actionListUploads, true, listing), deletion}
}

// isLookup reports whether e is the error of looking up an object that does not exist.
func (p *prober) isLookup(e *stream.StoreError) bool {
	return e.Op == "HeadObject" && e.Key == p.target(p.absent).key
}

// of returns the first error of the store for which is holds, or that is none of the store;
// nil if there is none.
func (f findings) of(is func(*stream.StoreError) bool) error {
	for _, err := range f {
		if failed, ok := errors.AsType[*stream.StoreError](err); !ok || is(failed) {
			return err
		}
	}
	return nil
}
