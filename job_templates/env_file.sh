read_env_file() {  # FILE: export its KEY=VALUE lines; nothing in them is evaluated
  local line key value number=0 mode
  [[ -e $1 ]] || return 0
  mode=$(stat -L -c %a -- "$1")
  [[ $mode == 600 || $mode == 400 ]] ||
    die 65 "$1 holds keys and its mode is $mode, not 600. Run: chmod 600 $1"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
    if ! [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]]; then
      printf 'warning: line %d of %s is not KEY=VALUE and is passed over\n' "$number" "$1" >&2
      continue
    fi
    key=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]}
    case $value in
      \"*\"*) value=${value#\"} value=${value%%\"*} ;;
      \'*\'*) value=${value#\'} value=${value%%\'*} ;;
      *) value=${value%%[[:space:]]#*} value=${value%"${value##*[![:space:]]}"} ;;
    esac
    [[ -n $value && -z ${!key:-} ]] || continue  # what is set already wins
    export "$key=$value"
    ENV_NAMES+=("$key")
  done <"$1"
}
