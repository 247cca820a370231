package doctor

// The reasons that are not those of a condition. docs/how-to/doctor.md says what each means.
const (
	reasonNotSeen = "NotSeen"

	reasonMissing = "Missing"
	reasonChanged = "Changed"
	reasonOlder   = "OlderThanPlugin"

	reasonRightMissing = "RightMissing"
	reasonRightTooWide = "RightTooWide"

	reasonUnavailable    = "Unavailable"
	reasonSingleReplica  = "SingleReplica"
	reasonVersionsDiffer = "VersionsDiffer"

	reasonFormUnknown      = "FormUnknown"
	reasonOldVersionStored = "OldVersionStored"

	reasonStale           = "ReplicaStale"
	reasonLate            = "ReplicaLate"
	reasonReplicasDiffer  = "ReplicasDiffer"
	reasonAuditLost       = "AuditLinesLost"
	reasonDamaged         = "ObjectsDamaged"
	reasonCertificateEnds = "CertificateEnds"
	reasonRecheckOld      = "RecheckOld"
	reasonPATChecksOld    = "PATChecksOld"
	reasonMemoryNearLimit = "MemoryNearLimit"
	reasonClockSkew       = "ClockSkew"

	reasonPlainHTTP      = "PlainHTTP"
	reasonBodyTooSmall   = "BodyTooSmall"
	reasonNoKeepAlive    = "NoKeepAlive"
	reasonPathNotChecked = "PathNotChecked"

	reasonTokenRefused        = "TokenRefused"
	reasonOtherUser           = "OtherUser"
	reasonWriteNotRefused     = "WriteNotRefused"
	reasonConnectionKeepsUser = "ConnectionKeepsUser"
	reasonRevokedStillWorks   = "RevokedStillWorks"
)
