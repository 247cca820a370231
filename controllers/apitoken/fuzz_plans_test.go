package apitoken_test

import (
	"strconv"
	"testing"
)

// damaged is a record that a scene may have instead of its own.
const damaged = `{"version":1,"tokenID":"` + canary + `"}`

// TestScenes plays every scene that was thought of, or that fuzzing found.
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
	for kind := range kinds {
		for secret := range secretKinds {
			for stored := range recordKinds {
				plans = append(plans, setting{kind: kind, secret: secret, record: stored, cleanUp: 1}.plan())
			}
		}
	}
	rotating := setting{secret: secretOurs, record: recordDelivered, age: ageDay, rotation: rotatesSinceLately}
	for _, base := range []setting{{}, rotating, {secret: secretOurs, record: recordFull, cleanUp: 1}} {
		plans = append(plans, eachChoice(base)...)
	}
	const clock, cache, calls = 1, 1, 26 // of a pass that does the most
	rotating.passes = 1
	for _, base := range []setting{{passes: 1}, rotating, {passes: 1, record: recordFull, secret: secretOursUntidy}} {
		plans = append(plans, eachFault(base, clock+cache+calls)...)
	}
	plans = append(plans, eachFault(setting{cleanUp: 1, record: recordCandidate, secret: secretOurs}, 6)...)
	plans = append(append(append(plans, termPlans()...), kindPlans()...), ownerPlans()...)
	// The cache does not show the record of an issued token yet, at the first read and at the second.
	issued := append([]byte{0, 1}, make([]byte, 21)...)
	return append(plans, setting{passes: 2}.plan(append(issued, 0, 0, 0, isStale, 0, 0, 0, isStale)...))
}

// eachChoice is a setting with one thing in it chosen otherwise.
func eachChoice(base setting) (plans [][]byte) {
	for i, c := range base.choices() {
		for chosen := range c.kinds {
			other := base
			*other.choices()[i].chosen = chosen
			plans = append(plans, other.plan())
		}
	}
	return plans
}

// eachFault is a setting in which one of the first calls meets a fault, or somebody who meddles.
func eachFault(base setting, calls int) (plans [][]byte) {
	for call := range calls {
		for fault := range meddles {
			plans = append(plans, base.plan(append(make([]byte, call), fault)...))
		}
		for meddling := range meddlings {
			plans = append(plans, base.plan(append(make([]byte, call), meddles|meddling<<4)...))
		}
	}
	return plans
}

// termPlans are combinations of terms that influence each other.
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

// ownerPlans are whose the personal access token and the token are, and what the product said of that.
func ownerPlans() (plans [][]byte) {
	for kind := range kinds {
		for owner := range owners {
			for named := range namings {
				for credential := range byte(4) {
					for _, stored := range []byte{recordNone, recordDelivered} {
						secret := secretNone
						if stored != recordNone || kind == kindImported || kind == kindFollowed {
							secret = secretOurs
						}
						plans = append(plans, setting{kind: kind, owner: owner, named: named, credential: credential, record: stored, secret: secret, passes: 1}.plan())
					}
				}
			}
		}
	}
	return plans
}

// kindPlans are the plans for secrets that the operator does not make.
func kindPlans() (plans [][]byte) {
	for _, base := range []setting{
		{kind: kindImported, secret: secretOurs},
		{kind: kindImported, secret: secretOurs, record: recordDelivered},
		{kind: kindFollowed, secret: secretOurs, record: recordEndingHeld},
		{kind: kindPortal},
		{kind: kindPortal, record: recordEnding},
		{kind: kindPortal, record: recordCandidate, lifetime: livesADay},
		{kind: kindPending},
		{kind: kindPending, record: recordDelivered},
	} {
		const anHourLater, calls = 3, 16
		base.passes = 1
		plans = append(plans, base.plan(anHourLater))
		plans = append(plans, eachFault(base, calls)...)
		base.passes = 2
		for base.age = range ages {
			plans = append(plans, eachChoice(base)...)
		}
	}
	return plans
}
