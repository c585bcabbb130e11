package pmem

import (
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
)

// SiteKind tells flushes and fences apart.
type SiteKind uint8

// The kinds of Site.
const (
	KindFlush SiteKind = iota + 1
	KindFence
)

// A Site is a place in the source that calls Flush or Fence. A mutation check lists the sites that a
// workload passes, has the fake ignore one of them, and expects the tests to notice.
type Site struct {
	Kind     SiteKind
	Function string // "index.(*Index).Apply"
	Line     int
}

// String shows the site as "flush at index.(*Index).Apply:123".
func (s Site) String() string {
	kind := "flush"
	if s.Kind == KindFence {
		kind = "fence"
	}
	return fmt.Sprintf("%s at %s:%d", kind, s.Function, s.Line)
}

// TrackSites has the fake record who calls Flush and Fence, which costs about a microsecond a call.
func (f *Fake) TrackSites(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.track = on
}

// Sites returns the recorded call sites, sorted.
func (f *Fake) Sites() []Site {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Keys(f.mu.sites), func(a, b Site) int { return strings.Compare(a.String(), b.String()) })
}

// Skip has every call from site do nothing from now on: a fence returns nil at once. The zero Site
// skips nothing. It turns TrackSites on.
func (f *Fake) Skip(site Site) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.skip = site
	f.mu.track = true
}

// LookThrough names helpers ("dpm.(*Pool).fence") that only pass Flush or Fence on: their callers are
// the sites, so that each can be skipped by itself.
func (f *Fake) LookThrough(helpers ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.helpers = helpers
}

// skipped records the caller of Flush or Fence and says whether it is to be ignored.
// REQUIRES: mu held; called directly by Flush or Fence.
func (f *Fake) skipped(kind SiteKind) bool {
	if !f.mu.track {
		return false
	}
	var pcs [8]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	frame, more := frames.Next()
	for more && slices.Contains(f.mu.helpers, path.Base(frame.Function)) {
		frame, more = frames.Next()
	}
	site := Site{Kind: kind, Function: path.Base(frame.Function), Line: frame.Line}
	f.mu.sites[site]++
	return site == f.mu.skip
}
