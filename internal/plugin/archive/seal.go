package archive

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// maxSize is the size of an archive that is read, unpacked. One of 100,000 tokens has about 150 MB.
const maxSize = 2 << 30

// Seal encrypts an archive to the recipients (https://age-encryption.org/v1).
func Seal(w io.Writer, a *Archive, to ...age.Recipient) error {
	text, err := a.encode()
	if err != nil {
		return err
	}
	if _, err := decode(text); err != nil { // nobody shall learn that in an emergency
		return err
	}
	encrypted, err := age.Encrypt(w, to...)
	if err != nil {
		return fmt.Errorf("encrypting the archive: %w", err)
	}
	packed := gzip.NewWriter(encrypted)
	if _, err = packed.Write(text); err == nil {
		err = packed.Close()
	}
	if err == nil {
		err = encrypted.Close()
	}
	if err != nil {
		return fmt.Errorf("encrypting the archive: %w", err)
	}
	return nil
}

// Open decrypts an archive and checks all of it. A cut or changed one is an error.
func Open(sealed []byte, with ...age.Identity) (*Archive, error) {
	decrypted, err := age.Decrypt(bytes.NewReader(sealed), with...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, errors.New("decrypting the archive: it was not encrypted to this identity, or with this passphrase")
	case err != nil:
		return nil, fmt.Errorf("decrypting the archive: is it one of kubectl apitoken backup? (%w)", err)
	}
	unpacked, err := gzip.NewReader(decrypted)
	if err != nil {
		return nil, fmt.Errorf("decrypting the archive: it is cut or damaged: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(unpacked, maxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("decrypting the archive: it is cut or damaged: %w", err)
	case len(text) > maxSize:
		return nil, errors.New("decrypting the archive: it has more than 2 GiB")
	}
	// Only the end of the encrypted stream proves that nothing was cut off.
	if rest, err := io.Copy(io.Discard, decrypted); err != nil || rest > 0 {
		return nil, errors.Join(errors.New("decrypting the archive: it is cut or damaged"), err)
	}
	return decode(text)
}
