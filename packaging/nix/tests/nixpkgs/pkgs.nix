# Packages that have names and can be evaluated. Of those that matter here, a command and a JSON file, the text is run.
{ lib, system }:
lib.fix (
  pkgs:
  let
    # the text of `run` is a shell's
    made =
      name: variables: run:
      derivation (
        {
          inherit name system;
          builder = "/bin/sh";
          args = [ "-ec" run ];
          PATH = "/usr/bin:/bin";
        }
        // variables
      );
    callPackageWith =
      set: file: arguments:
      let
        function = if builtins.isFunction file then file else import file;
      in
      function (builtins.intersectAttrs (builtins.functionArgs function) set // arguments);
    package = name: made name { } "mkdir $out" // { meta.mainProgram = name; };
    # what its attributes were, for tests
    built = attributes: package attributes.pname // { inherit attributes; } // { inherit (attributes) meta version; };
    python = lib.genAttrs [
      "awscrt"
      "click"
      "hatchling"
      "hypothesis"
      "cronsim"
      "cryptography"
      "msgspec"
      "pytest"
      "pytest-timeout"
      "pyyaml"
      "rich"
      "tzdata"
      "urllib3"
      "zstandard"
    ] (name: package name // { pname = name; });
  in
  lib.genAttrs [
    "age"
    "installShellFiles"
    "nixfmt-tree"
    "openssh"
    "openssl"
    "python3"
    "rclone"
    "restic"
    "uv"
  ] package
  // {
    inherit lib system;
    python3Packages = python // { buildPythonApplication = built; };
    stdenv = {
      buildPlatform.canExecute = _: true;
      hostPlatform = { inherit system; };
    };
    mkShell = { packages, inputsFrom }: made "shell" { inherit packages inputsFrom; } "mkdir $out";
    runCommand = made;
    writeText = name: text: made name { inherit text; } "printf %s \"$text\" >$out";
    formats.json =
      { }:
      let
        inherit (lib.types)
          attrsOf
          bool
          float
          int
          listOf
          nullOr
          oneOf
          path
          str
          ;
        value = nullOr (oneOf [
          bool
          int
          float
          str
          path
          (attrsOf value)
          (listOf value)
        ]);
      in
      {
        type = value // { description = "JSON value"; };
        generate = name: value: pkgs.writeText name (builtins.toJSON value) // { inherit value; };
      };
    callPackage = callPackageWith pkgs;
    extend =
      overlay:
      lib.fix (final: pkgs // { callPackage = callPackageWith final; } // overlay final pkgs);

    # The machines are evaluated, the test is not run.
    testers.runNixOSTest =
      test:
      let
        machine = _: node: import ./nixos.nix { inherit lib; } { inherit system; modules = [ node ]; };
        nodes = builtins.mapAttrs machine test.nodes;
        toplevels = map (node: node.config.system.build.toplevel) (builtins.attrValues nodes);
      in
      made test.name { inherit toplevels; } "mkdir $out"
      // { inherit nodes; inherit (test) testScript; };
  }
)
