# A small stand-in for nixpkgs' lib, so that flake.nix and module.nix can be tested on a machine without nixpkgs:
# what they use, by the same names. How it is simpler stands at `types`, `fileset` and in modules.nix.
let
  inherit (builtins)
    all
    any
    attrNames
    concatLists
    concatStringsSep
    elem
    elemAt
    filter
    genList
    head
    isAttrs
    isList
    isString
    length
    listToAttrs
    mapAttrs
    match
    replaceStrings
    stringLength
    substring
    toJSON
    ;

  lib = {
    inherit
      attrNames
      concatLists
      concatStringsSep
      elem
      filter
      head
      isAttrs
      isList
      isString
      length
      mapAttrs
      replaceStrings
      stringLength
      ;

    fix =
      f:
      let
        x = f x;
      in
      x;
    toList = value: if isList value then value else [ value ];
    last = list: elemAt list (length list - 1);
    imap0 = f: list: genList (index: f index (elemAt list index)) (length list);
    optional = condition: value: if condition then [ value ] else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    filterAttrs =
      keep: set:
      listToAttrs (
        concatLists (
          lib.mapAttrsToList (name: value: lib.optional (keep name value) { inherit name value; }) set
        )
      );
    isDerivation = value: isAttrs value && value.type or null == "derivation";

    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    concatMapStrings = f: list: concatStringsSep "" (map f list);
    concatMapStringsSep =
      separator: f: list:
      concatStringsSep separator (map f list);
    toLower = replaceStrings lib.upperChars lib.lowerChars;
    toUpper = replaceStrings lib.lowerChars lib.upperChars;
    lowerChars = lib.characters "abcdefghijklmnopqrstuvwxyz";
    upperChars = lib.characters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    characters = text: genList (index: substring index 1 text) (stringLength text);
    escapeShellArg =
      text:
      if match "[A-Za-z0-9,._+:@%/-]+" text != null then text else "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
    makeBinPath = lib.concatMapStringsSep ":" (package: "${package}/bin");
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    showOption = lib.concatMapStringsSep "." (
      name: if match "[A-Za-z0-9_-]+" name != null then name else toJSON name
    );

    licenses.mit.spdxId = "MIT";
    platforms.unix = [ ];
    # the whole folder, whatever is left out; but each part must be there
    fileset = {
      unions = filesets: filesets;
      toSource =
        { root, fileset }:
        let
          missing = filter (path: !builtins.pathExists path) fileset;
        in
        if missing == [ ] then root else throw "fileset: not there: ${toString missing}";
    };

    literalExpression = text: { _type = "literalExpression"; inherit text; };
    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      name:
      lib.mkOption {
        type = lib.types.bool;
        default = false;
        description = "Whether to enable ${name}.";
      };
    mkPackageOption =
      pkgs: name: { }:
      lib.mkOption {
        type = lib.types.package;
        default = pkgs.${name};
        description = "The ${name} package to use.";
      };
    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkOverride = priority: content: { _type = "override"; inherit priority content; };
    mkDefault = lib.mkOverride 1000;
    mkForce = lib.mkOverride 50;

    # A type says whether a value is of its shape, and `value`, which gets the path for messages, what the module sees.
    # Definitions are merged before that, without asking the type.
    types =
      let
        textual = value: isString value || builtins.isPath value || lib.isDerivation value;
        absolute = value: textual value && lib.hasPrefix "/" (toString value);
        leaf = description: check: {
          inherit description check;
          value = _: value: value;
        };
        within = description: check: value: { inherit description check value; };
      in
      rec {
        anything = leaf "anything" (_: true);
        bool = leaf "boolean" builtins.isBool;
        int = leaf "signed integer" builtins.isInt;
        float = leaf "floating point number" builtins.isFloat;
        str = leaf "string" isString;
        path = leaf "absolute path" absolute;
        package = leaf "package" lib.isDerivation;
        externalPath = leaf "absolute path not in the Nix store" (
          value: isString value && absolute value && !lib.hasPrefix builtins.storeDir value
        );
        addCheck = type: check: type // { check = value: type.check value && check value; };
        either = one: other: oneOf [ one other ];
        nullOr = type: oneOf [ (leaf "null" (value: value == null)) type ];
        oneOf =
          types:
          within (lib.concatMapStringsSep " or " (type: type.description) types)
            (value: any (type: type.check value) types)
            (path: value: (head (filter (type: type.check value) types)).value path value);
        listOf =
          type:
          within "list of ${type.description}" (value: isList value && all type.check value) (
            path: lib.imap0 (index: type.value (path ++ [ (toString index) ]))
          );
        attrsOf =
          type:
          within "attribute set of ${type.description}"
            (value: isAttrs value && !lib.isDerivation value && all (name: type.check value.${name}) (attrNames value))
            (path: mapAttrs (name: type.value (path ++ [ name ])));
        # its options are checked one by one, each with a message of its own
        submodule =
          { options, freeformType ? null }:
          within "submodule" isAttrs (path: modules.evaluateOptions path options freeformType);
      };
  };

  modules = import ./modules.nix lib;
in
lib // modules
