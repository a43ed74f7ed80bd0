package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"

	"go.step.sm/crypto/pemutil"

	"github.com/footprintai/containarium/pki/live"
)

// The PEM types of PKCS#8. No other is read: the older forms encrypt with a
// single round of MD5.
const (
	plainKey     = "PRIVATE KEY"
	encryptedKey = "ENCRYPTED PRIVATE KEY"
)

// encodeKey returns a key as PKCS#8 in PEM, encrypted where there is a
// passphrase: PBES2 with AES-256 and 600,000 rounds of PBKDF2-HMAC-SHA256, which
// is what OWASP's cheat sheet on password storage asks for.
func encodeKey(key crypto.PrivateKey, passphrase []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("encode private key: not a key that PKCS#8 knows")
	}
	if len(passphrase) == 0 {
		return pem.EncodeToMemory(&pem.Block{Type: plainKey, Bytes: der}), nil
	}
	block, err := pemutil.EncryptPKCS8PrivateKey(rand.Reader, der, passphrase, x509.PEMCipherAES256)
	if err != nil {
		return nil, errors.New("encode private key: it can not be encrypted")
	}
	return pem.EncodeToMemory(block), nil
}

// readKey reads a key that encodeKey wrote, and asks for the passphrase if it
// needs one. Errors name the file alone: what a parser says of a key may hold
// bytes of it.
func readKey(path string, passphrase func() ([]byte, error)) (crypto.Signer, error) {
	data, err := live.ReadKey(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != plainKey && block.Type != encryptedKey {
		return nil, fmt.Errorf("%s holds no PKCS#8 private key", path)
	}
	der := block.Bytes
	if block.Type == encryptedKey {
		secret, err := passphrase()
		if err != nil {
			return nil, err
		}
		if der, err = decrypt(der, secret); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil && block.Type == encryptedKey {
		// One wrong passphrase in 256 leaves a padding that looks right.
		return nil, fmt.Errorf("%s: %w is wrong", path, ErrPassphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("%s holds a damaged private key", path)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a key that can not sign", path)
	}
	return signer, nil
}

func decrypt(der, passphrase []byte) (plain []byte, err error) {
	defer func() {
		if recover() != nil { // the library trusts the lengths that it reads
			plain, err = nil, errors.New("holds a damaged private key")
		}
	}()
	plain, err = pemutil.DecryptPKCS8PrivateKey(der, passphrase)
	switch {
	case errors.Is(err, x509.IncorrectPasswordError):
		return nil, fmt.Errorf("%w is wrong", ErrPassphrase)
	case err != nil:
		return nil, errors.New("holds a damaged private key")
	}
	return plain, nil
}

// keyring holds the keys that were read, so that an encrypted one costs its
// rounds once, and the passphrase. A key is read again when its file changed.
type keyring struct {
	mu         sync.Mutex
	kept       map[string]keptKey
	asked      bool
	passphrase []byte
	err        error
}

type keptKey struct {
	info   os.FileInfo
	signer crypto.Signer
}

// signer returns the key in a file. It fails closed where that is not the key of
// the certificate.
func (ca *CA) signer(path string, cert *x509.Certificate) (crypto.Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	ca.keys.mu.Lock()
	defer ca.keys.mu.Unlock()
	key, ok := ca.keys.kept[path]
	if !ok || !os.SameFile(key.info, info) || key.info.Mode() != info.Mode() || key.info.Size() != info.Size() || !key.info.ModTime().Equal(info.ModTime()) {
		signer, err := readKey(path, ca.askPassphrase)
		if err != nil {
			return nil, err
		}
		if ca.keys.kept == nil {
			ca.keys.kept = map[string]keptKey{}
		}
		key = keptKey{info, signer}
		ca.keys.kept[path] = key
	}
	if !samePublicKey(key.signer.Public(), cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of the certificate beside it", path)
	}
	return key.signer, nil
}

// Unlock reads the key that signs, so that somebody who will need it later finds
// out now: it fails with ErrPassphrase where that is missing or wrong.
func (ca *CA) Unlock() error {
	s, err := ca.load()
	if err == nil {
		_, err = ca.intermediateSigner(s, s.Signs.Intermediate)
	}
	if err != nil {
		return fmt.Errorf("read the key that signs: %w", err)
	}
	return nil
}

// secret returns the passphrase that new keys get, nil where those of the CA are
// not encrypted.
func (ca *CA) secret(s *snapshot) ([]byte, error) {
	if !s.Encrypted {
		return nil, nil
	}
	ca.keys.mu.Lock()
	defer ca.keys.mu.Unlock()
	return ca.askPassphrase()
}

// askPassphrase asks once and keeps the answer, good or bad. The caller holds
// the keyring.
func (ca *CA) askPassphrase() ([]byte, error) {
	if !ca.keys.asked {
		ca.keys.asked = true
		if ca.Passphrase == nil {
			ca.keys.err = fmt.Errorf("%w is needed: give --passphrase-file", ErrPassphrase)
		} else if ca.keys.passphrase, ca.keys.err = ca.Passphrase(); ca.keys.err == nil && len(ca.keys.passphrase) == 0 {
			ca.keys.err = fmt.Errorf("%w is empty", ErrPassphrase)
		}
	}
	return ca.keys.passphrase, ca.keys.err
}

// samePublicKey reports whether two public keys are one; a key of an unknown
// type equals none.
func samePublicKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

func encodeCertificates(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}
