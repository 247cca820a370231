package authn

import (
	"slices"
	"time"
)

// License is what the index needs of a site's licence. The signature was verified before.
type License struct {
	// Products are the products that it covers. It does not count from Expires on.
	Products []string
	Expires  time.Time
	// Invalid is the reason why there is no licence. It is empty if there is one.
	Invalid Reason
}

// RequireLicenses makes tokens of a site without a valid licence do nothing at the product. Call it before the index is
// used.
func (ix *Index) RequireLicenses() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.licensesRequired = true
}

// PutLicense adds or replaces the licence of a site.
func (ix *Index) PutLicense(name SiteName, l License) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.licenses[name] = l
}

// DeleteLicense removes the licence of a site.
func (ix *Index) DeleteLicense(name SiteName) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.licenses, name)
}

// Unlicensed returns the reason why the licence of a site does not count now, or "". It returns "" for an unknown site.
func (ix *Index) Unlicensed(at SiteName) Reason {
	now := ix.now()
	defer ix.mu.read(0).RUnlock()
	s := ix.sites[at]
	if s == nil {
		return ""
	}
	return ix.unlicensed(s, now)
}

// unlicensed is Unlicensed at a time. The caller holds the lock.
func (ix *Index) unlicensed(s *site, now time.Time) Reason {
	if !ix.licensesRequired {
		return ""
	}
	l, known := ix.licenses[s.name]
	if !known {
		l.Invalid = ReasonInvalidLicenseMissing
	}
	switch {
	case l.Invalid != "":
		return l.Invalid
	case !slices.Contains(l.Products, s.product):
		return ReasonInvalidLicenseWrongProduct
	case !now.Before(l.Expires):
		return ReasonInvalidLicenseExpired
	}
	return ""
}
