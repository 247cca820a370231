package selfservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// lifetimes are the lifetimes in days to ask for, one after the other, because the product may have a maximum. The controller
// renews the personal access token long before its end.
var lifetimes = []int{90, 30}

const (
	// strayAge is the age at which a personal access token of ours that is not held was left over. Before, another portal may be
	// about to hand it over.
	strayAge = 2 * time.Minute
	// lookPeriod is how often the portal looks for one that an unclear answer may have left. A slow product makes it late.
	lookPeriod = 2 * time.Second
	// suffixLength keeps the name within the product's limit.
	suffixLength = 5
	// intakePrefix begins the name of each intake.
	intakePrefix = "intake-"
)

// removeStrays has the product revoke the caller's personal access tokens that were made for this site and this name of theirs, and that nobody holds. The
// answer about them was unclear, or they could not be handed over.
func (s *Service) removeStrays(ctx context.Context, c *Caller, held int64) error {
	return s.callProduct(ctx, c, func(ctx context.Context) error {
		listed, err := s.Product.ListPATs(ctx, c.upstream, c.credential)
		if errors.Is(err, atlassian.ErrRefused) {
			return nil // then it makes none either, and says so
		}
		if err != nil {
			return err
		}
		for _, pat := range listed {
			stray := upstream.IsPATName(pat.Name, string(c.UID), c.User) && pat.ID != held && !pat.Created.IsZero() && s.Clock.Now().Sub(pat.Created) > strayAge
			if !stray {
				continue
			}
			if err := s.Product.DeletePAT(ctx, c.upstream, c.credential, pat.ID); err != nil {
				return err
			}
			s.Logger.Info("Revoked a personal access token that was left over", "site", c.Ref().String(), "user", c.User)
		}
		return nil
	})
}

// createPAT has the product make a personal access token. After an unclear answer there may be one: it is looked for by its name,
// which only this request uses.
func (s *Service) createPAT(ctx context.Context, c *Caller) (pat atlassian.PAT, err error) {
	suffix, err := randomName(s.Random, suffixLength)
	if err != nil {
		return pat, err
	}
	name := upstream.PATName(string(c.UID), c.User, suffix)
	for _, days := range lifetimes {
		err = s.callProduct(ctx, c, func(ctx context.Context) error {
			pat, err = s.Product.CreatePAT(ctx, c.upstream, c.credential, name, days)
			return err
		})
		if !errors.Is(err, atlassian.ErrPATRefused) {
			break
		}
	}
	switch {
	case errors.Is(err, atlassian.ErrPATRefused):
		return pat, problem(Conflict, "%s did not create a personal access token for you. You may have reached its limit. "+
			"Delete one in your profile, or paste one on %s.", c.Spec.Product, c.PageURL())
	case errors.Is(err, atlassian.ErrRefused):
		return pat, problem(Forbidden, "%s does not let you create a personal access token, which API tokens need. "+
			"Sign in and open %s, or ask its administrator.", c.Spec.Product, c.PageURL())
	case err == nil:
		err = upstream.CheckToken(pat.Token)
	}
	if err != nil {
		s.removeUnclear(ctx, c, name)
	}
	return pat, err
}

// removeUnclear has the product revoke a personal access token with this name, as soon as there is one.
func (s *Service) removeUnclear(ctx context.Context, c *Caller, name string) {
	s.cleanUp(ctx, func(ctx context.Context) {
		_ = wait.PollUntilContextCancel(ctx, lookPeriod, true, func(ctx context.Context) (removed bool, _ error) { // the next enrolment repeats it
			err := s.callProduct(ctx, c, func(ctx context.Context) (err error) {
				removed, err = s.removeNamed(ctx, c, name)
				return err
			})
			return removed && err == nil, nil
		})
	})
}

func (s *Service) removeNamed(ctx context.Context, c *Caller, name string) (found bool, err error) {
	listed, err := s.Product.ListPATs(ctx, c.upstream, c.credential)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(listed, func(pat atlassian.PAT) bool { return pat.Name == name })
	if i < 0 {
		return false, nil
	}
	return true, s.Product.DeletePAT(ctx, c.upstream, c.credential, listed[i].ID)
}

// revokePAT revokes a personal access token that could not be handed over, or that the controller did not keep.
func (s *Service) revokePAT(ctx context.Context, c *Caller, pat atlassian.PAT) {
	s.cleanUp(ctx, func(ctx context.Context) {
		err := s.callProduct(ctx, c, func(ctx context.Context) error {
			return s.Product.DeletePAT(ctx, c.upstream, c.credential, pat.ID)
		})
		if err != nil {
			s.Logger.Error(err, "Revoking a personal access token that is not kept failed; the next enrolment of its user repeats it",
				"site", c.Ref().String(), "user", c.User)
		}
	})
}

// handOver creates the Secret from which the controller takes a personal access token, and returns its name. If the answer is
// unclear, it asks again under the same name.
func (s *Service) handOver(ctx context.Context, c *Caller, u upstream.Credential) (string, error) {
	u.Namespace, u.Site, u.User, u.UserKey, u.Origin, u.Stored = c.Namespace, c.Name, c.User, c.key, c.origin, s.Clock.Now().UTC()
	encoded, err := u.Encode()
	if err != nil {
		return "", err
	}
	random, err := randomName(s.Random, 20)
	if err != nil {
		return "", err
	}
	intake := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.IntakeNamespace, Name: intakePrefix + random,
			Labels: map[string]string{managedByLabel: "apitoken-operator", record.LabelSiteNamespace: u.Namespace, record.LabelSite: u.Site},
		},
		Type: upstream.IntakeType, Data: map[string][]byte{upstream.DataKey: encoded},
	}
	err = wait.PollUntilContextCancel(ctx, decisionPoll, true, func(ctx context.Context) (bool, error) {
		err := s.Client.Create(ctx, intake.DeepCopy())
		switch {
		case err == nil, apierrors.IsAlreadyExists(err):
			return true, nil
		case isTransient(err) && ctx.Err() == nil:
			return false, nil
		default:
			return false, err
		}
	})
	if err != nil {
		return "", fmt.Errorf("handing over a personal access token: %w", err)
	}
	return intake.Name, nil
}

// randomName returns random letters and digits, in lower case.
func randomName(random io.Reader, length int) (string, error) {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567" // 32, so that each is as likely
	b := make([]byte, length)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("choosing a random name: %w", err)
	}
	var name strings.Builder
	for _, x := range b {
		name.WriteByte(alphabet[x%32])
	}
	return name.String(), nil
}
