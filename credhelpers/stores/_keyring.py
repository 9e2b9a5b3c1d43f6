"""What `--help` of docker-credential-keyring prints. No call has it loaded but that one."""

MANUAL = """\
Keeps what you type at `docker login`: in the OS keyring where there is one,
else in files encrypted with age.

TO USE IT
  One line in docker's config.json (~/.docker/config.json), for all registries
  that have no helper of their own:

      "credsStore": "keyring"

  or for one registry:

      "credHelpers": { "registry.example:5000": "keyring" }

  Then `docker login` as ever. Podman, skopeo and buildah start the same
  program when their auth.json or registries.conf names it.

WHERE ENTRIES GO
  secret-service  Linux with a session bus on which GNOME Keyring, KWallet or
                  KeePassXC offers the Secret Service. Entries are those of
                  docker-credential-secretservice: each of the two programs
                  reads what the other wrote.
  keychain        macOS.
  library         a backend of Python's keyring library, if config.toml has
                  `backend = "library"` or the name of its class in `[keyring]`.
  embedded        chosen by itself where there is no session bus or no Secret
                  Service on it, as on a server, over ssh or in a container.
                  One file a registry, encrypted with age; never plain text.

  A keyring that is there but locked, cancelled, without a default collection
  or silent is an error within 5 seconds, and nothing is written to the
  embedded store then. You are asked to unlock it only where there is a screen.

  get asks the keyring, then the embedded store. store writes to the keyring
  if there is one, and then removes an older embedded entry. erase forgets in
  both. An entry in a keyring out of reach, as over ssh, is an error and not
  "not found", lest docker go on without a password; list leaves it out, and
  store does not write a second one.

ENVIRONMENT
  CREDHELPERS_KEYRING
      embedded: use the embedded store and never ask a keyring.
      secret-service (macOS: keychain): use the keyring, fail where there is
      none.
  CREDHELPERS_AGE_IDENTITY
      Absolute path of the key for the embedded store: an age identity file,
      or an ssh-ed25519 or ssh-rsa private key without a passphrase. It must
      be closed to other users.
  DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR
      Where the session bus is.
  DISPLAY, WAYLAND_DISPLAY
      Whether there is a screen on which a keyring can ask.
  XDG_DATA_HOME, HOME
      Where the files are.
  CREDHELPERS_DEBUG
      Print notes to standard error.

  PYTHON_KEYRING_BACKEND and keyringrc.cfg have no effect.

FILES
  ${XDG_DATA_HOME:-~/.local/share}/credhelpers/
                 mode 0700; a wider one is refused
  identity.txt   in it: the key of the embedded store, made at the first store
                 unless CREDHELPERS_AGE_IDENTITY is set
  *.age          an entry; `age -d -i identity.txt FILE` shows it
  *.keyring      the name of a registry whose entry is in the OS keyring; no
                 secret, no user name; *.library for one in the library's
  lock-*         empty

  The key lies beside what it opens: that protects against a look at a file or
  a backup of the entries alone, not against who can read your home. Name a key
  on other storage in CREDHELPERS_AGE_IDENTITY if you need more.

EXIT STATUS
  0  done
  1  not done: standard output says why in one line, which is `credentials not
     found in native keychain` if there is no entry, and on other errors a
     the line on standard error names what mends it

SEE ALSO
  docker-login(1), age(1), secret-tool(1), docs/keyring.md
"""
