package apitoken_test

import (
	"strconv"
	"testing"
)

// damaged is a record that a scene may have instead of its own.
const damaged = `{"version":1,"tokenID":"` + canary + `"}`

// Every scene that was thought of, or that fuzzing found.
func TestScenes(t *testing.T) {
	p := makeProps(t)
	for i, plan := range plans() {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			newScene(t, p, "Alice", "asp_0000000000000000", damaged, plan).play()
		})
	}
}

// plans are every state of the Secret and the record, everything else that a scene can begin with, and each fault at each
// call of the API.
func plans() (plans [][]byte) {
	for secret := range secretKinds {
		for stored := range recordKinds {
			plans = append(plans, setting{secret: secret, record: stored, cleanUp: 1}.plan())
		}
	}
	rotating := setting{secret: secretOurs, record: recordDelivered, age: ageDay, rotation: rotatesSinceLately}
	for _, base := range []setting{{}, rotating, {secret: secretOurs, record: recordFull, cleanUp: 1}} {
		for i, c := range base.choices() {
			for kind := range c.kinds {
				other := base
				*other.choices()[i].chosen = kind
				plans = append(plans, other.plan())
			}
		}
	}
	const clock, cache, calls = 1, 1, 21 // of a pass that does the most
	rotating.passes = 1
	for _, base := range []setting{
		{passes: 1},
		rotating,
		{passes: 1, record: recordFull, secret: secretOursUntidy},
		{cleanUp: 1, record: recordCandidate, secret: secretOurs},
	} {
		last := clock + cache + calls
		if base.passes == 0 {
			last = 6
		}
		for call := range last {
			for fault := range meddles {
				plans = append(plans, base.plan(append(make([]byte, call), fault)...))
			}
			for meddling := range meddlings {
				plans = append(plans, base.plan(append(make([]byte, call), meddles|meddling<<4)...))
			}
		}
	}
	plans = append(append(plans, termPlans()...), kindPlans()...)
	// Of a token that was issued the cache shows no record yet, at the first look and at the second.
	issued := append([]byte{0, 1}, make([]byte, 21)...)
	return append(plans, setting{passes: 2}.plan(append(issued, 0, 0, 0, isStale, 0, 0, 0, isStale)...))
}

// termPlans are the terms that have to do with each other.
func termPlans() (plans [][]byte) {
	add := func(s setting) { plans = append(plans, s.plan()) }
	for age := range ages {
		for rotation := range rotations {
			for overlap := range byte(3) {
				for _, stored := range []byte{recordDelivered, recordCandidate, recordEndingFull} {
					add(setting{age: age, rotation: rotation, overlap: overlap, secret: secretOurs, record: stored})
				}
			}
			for lifetime := range lifetimes {
				retention := (age + rotation + lifetime) % 3
				add(setting{age: age, rotation: rotation, lifetime: lifetime, retention: retention, secret: secretOurs, record: recordDelivered, cleanUp: 1})
			}
			for epoch := range epochs {
				add(setting{age: age, rotation: rotation, epoch: epoch, secret: secretOurs, record: recordEnding})
			}
		}
		for limits := range limitsKinds {
			for lifetime := range lifetimes {
				add(setting{age: age, limits: limits, lifetime: lifetime, rotation: rotatesSinceLately, secret: secretOurs, record: recordDelivered})
				add(setting{age: age, limits: limits, lifetime: lifetime, record: age})
			}
		}
	}
	return plans
}

// kindPlans are those of secrets that the operator does not make: all that can lie there, each of the other choices, and each
// fault at each call of the first pass.
func kindPlans() (plans [][]byte) {
	for _, base := range []setting{
		{kind: kindImported, secret: secretOurs},
		{kind: kindImported, secret: secretOurs, record: recordDelivered},
		{kind: kindFollowed, secret: secretOurs, record: recordEndingHeld},
		{kind: kindPortal},
		{kind: kindPortal, record: recordEnding},
		{kind: kindPortal, record: recordCandidate, lifetime: livesADay},
		{kind: kindPending, record: recordDelivered},
	} {
		for secret := range secretKinds {
			for stored := range recordKinds {
				plans = append(plans, setting{kind: base.kind, secret: secret, record: stored, cleanUp: 1}.plan())
			}
		}
		for i, c := range base.choices()[:len(base.choices())-1] {
			for chosen := range c.kinds {
				for age := range ages {
					other := base
					other.passes, other.age, *other.choices()[i].chosen = 2, age, chosen
					plans = append(plans, other.plan())
				}
			}
		}
		base.passes = 1
		plans = append(plans, base.plan(3)) // an hour later
		for call := range 16 {
			for fault := range meddles {
				plans = append(plans, base.plan(append(make([]byte, call), fault)...))
			}
			for meddling := range meddlings {
				plans = append(plans, base.plan(append(make([]byte, call), meddles|meddling<<4)...))
			}
		}
	}
	return plans
}
