{
  lib,
  python3Packages,
  restic,
  openssl,
  installShellFiles,
}:

let
  root = ../..;
  # the one place that has the version
  version = lib.head (
    builtins.match ".*__version__ = \"([^\"]+)\".*" (
      builtins.readFile (root + "/src/restic_monitor/__init__.py")
    )
  );
in
python3Packages.buildPythonApplication {
  pname = "restic-monitor";
  inherit version;
  pyproject = true;

  # a change of the docs builds nothing anew
  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions (
      map (name: root + "/${name}") [
        "LICENSE"
        "README.md"
        "completions"
        "man"
        "pyproject.toml"
        "src"
        "tests"
      ]
    );
  };

  build-system = [ python3Packages.hatchling ];

  dependencies = with python3Packages; [
    awscrt
    click
    cronsim
    cryptography
    msgspec
    pyyaml
    rich
    tzdata
    urllib3
    zstandard
  ];

  nativeBuildInputs = [ installShellFiles ];

  nativeCheckInputs = [
    python3Packages.hypothesis
    python3Packages.pytest
    python3Packages.pytest-timeout
    restic
    openssl
  ];

  # What needs neither a network, nor a certain restic, nor the rest of the checkout. Its own CI runs everything.
  checkPhase = ''
    runHook preCheck
    python -m pytest -q -p no:cacheprovider ${
      lib.concatMapStringsSep " " (name: "tests/test_${name}.py") [
        "config"
        "config_errors"
        "environment"
        "freshness"
        "location"
        "outputs"
        "push_address"
        "quantity"
        "secret"
        "small_checks"
        "template"
        "uptime_kuma"
        "yaml"
      ]
    }
    runHook postCheck
  '';
  pythonImportsCheck = [ "restic_monitor" ];

  # behind PATH: a restic of the user's own, or of services.restic-monitor.resticPackage, comes first
  makeWrapperArgs = [ "--suffix PATH : ${lib.makeBinPath [ restic ]}" ];

  postInstall = ''
    installManPage man/restic-monitor.1
    installShellCompletion --cmd restic-monitor \
      --bash completions/restic-monitor.bash \
      --zsh completions/restic-monitor.zsh \
      --fish completions/restic-monitor.fish
  '';

  meta = {
    description = "Tells Uptime Kuma whether restic repositories have fresh snapshots";
    license = lib.licenses.mit;
    mainProgram = "restic-monitor";
    platforms = lib.platforms.unix;
  };
}
