# bash completion for culvertd
_culvertd() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  case $prev in
    --config | --socket | --bundle | --log | --cert | --key | --ca) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
  esac
  local words='check init status notify version help run --config'
  case ${COMP_WORDS[1]} in
    init) words='--config --bundle --thing --endpoint --cert --key --ca --service --force --offline --no-start' ;;
    check) words='--config --offline --json --bundle --log --timeout' ;;
    status) words='--config --socket --json --watch' ;;
    notify) words='--config --socket' ;;
    version) words='--json' ;;
    run) words='--config' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o filenames -F _culvertd culvertd
