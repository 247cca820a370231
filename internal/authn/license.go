package authn

import (
	"slices"
	"time"
)

// License is what the index needs of a site's licence: what one says whose signature was verified, or why there is none.
type License struct {
	// Products are those that it is for. Expires is when it ends.
	Products []string
	Expires  time.Time
	// Invalid is the reason where there is none, and empty where there is.
	Invalid Reason
}

// RequireLicenses says that tokens of a site that has no valid licence may do nothing at the product. It is said before
// the index is used.
func (ix *Index) RequireLicenses() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.licensesRequired = true
}

// PutLicense adds or replaces what is known of the licence of a site.
func (ix *Index) PutLicense(name SiteName, l License) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.licenses[name] = l
}

// DeleteLicense removes what is known of the licence of a site.
func (ix *Index) DeleteLicense(name SiteName) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.licenses, name)
}

// Unlicensed returns why the licence of a site does not count now, or nothing, also for a site that is not known.
func (ix *Index) Unlicensed(at SiteName) Reason {
	now := ix.now()
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	s := ix.sites[at]
	if s == nil {
		return ""
	}
	return ix.unlicensed(s, at, now)
}

// unlicensed returns why the licence of a site does not count now, or nothing. The lock is held.
func (ix *Index) unlicensed(s *site, at SiteName, now time.Time) Reason {
	l, known := ix.licenses[at]
	if !known {
		l.Invalid = ReasonInvalidLicenseMissing
	}
	switch {
	case !ix.licensesRequired:
		return ""
	case l.Invalid != "":
		return l.Invalid
	case !slices.Contains(l.Products, s.product):
		return ReasonInvalidLicenseProduct
	case !now.Before(l.Expires):
		return ReasonInvalidLicenseExpired
	}
	return ""
}
